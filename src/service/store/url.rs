//! Where the database is; there may be a password in it, so it is never shown.

use std::{fmt, str::FromStr as _};

use serde::{Deserialize, Serialize, Serializer};
use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::StoreError;

/// URL of a database. Neither `Debug` nor `Serialize` shows it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "String")]
pub struct Url(String);

/// How a database is reached.
#[derive(Clone)]
pub(super) enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Url {
    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is empty, or one of a database.
    pub(super) fn is_good(&self) -> bool {
        self.is_empty() || self.target().is_some()
    }

    /// How it is reached; none where it is no URL of a database.
    pub(super) fn target(&self) -> Option<Target> {
        let (scheme, rest) = self.0.split_once(':')?;
        match scheme {
            // Each connection would have a memory of its own.
            "sqlite" if rest.contains("memory") => None,
            "sqlite" if rest.trim_start_matches('/').is_empty() => None,
            "sqlite" => SqliteConnectOptions::from_str(&self.0).ok().map(Target::Sqlite),
            "postgres" | "postgresql" if rest.starts_with("//") => {
                PgConnectOptions::from_str(&self.0).ok().map(Target::Postgres)
            }
            _ => None,
        }
    }
}

impl Target {
    /// Checks that the folder of a database in a file is there.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let Self::Sqlite(options) = self else { return Ok(()) };
        match options.get_filename().parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                let why = format!("`{}` is not a folder that exists", folder.display());
                Err(StoreError::Open { place: self.place(), why })
            }
            _ => Ok(()),
        }
    }

    /// Where it is, without who is let in.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Sqlite(options) => options.get_filename().display().to_string(),
            Self::Postgres(options) => match options.get_socket() {
                Some(socket) => format!("{}:{}", socket.display(), options.get_port()),
                None => format!("{}:{}", options.get_host(), options.get_port()),
            },
        }
    }
}

impl From<String> for Url {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl From<&str> for Url {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl Url {
    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { "(set)" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let url = Url::from("postgres://user:hunter2@db:5432/thermograph");
        let target = url.target().expect("a database");
        let shown = format!("{url:?} {} {}", serde_json::json!(url), target.place());
        assert!(shown.contains("db:5432") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for good in ["", "sqlite:a.db", "sqlite:///tmp/a.db", "postgres://a", "postgresql://u@a/b"]
        {
            assert!(Url::from(good).is_good(), "{good}");
        }
        for bad in ["a.db", "mysql://a/b", "sqlite:", "sqlite://", "sqlite::memory:", "postgres:a"]
        {
            assert!(!Url::from(bad).is_good(), "{bad}");
        }
    }
}
