//! Where the database is; there may be a password in it, so it is never shown.

use std::{borrow::Cow, fmt, str::FromStr as _};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};
use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};
use thermograph_common::Invalid;

use super::StoreError;

/// URL of a database. Neither `Debug` nor `Serialize` shows it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "String")]
pub struct Url(String);

/// Options of connections to a database.
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

    /// Checks that it is empty, or the URL of a database that outlives a connection.
    pub(super) fn validate(&self, field: &str) -> Result<(), Invalid> {
        if self.is_empty() || self.target().is_some() {
            return Ok(());
        }
        let Some(form) = self.sqlite_location().and_then(in_memory) else {
            let allowed = "sqlite:FILE or postgres://USER@HOST/NAME; empty for no store";
            return Err(Invalid::new(field, "(set)", allowed));
        };
        // URLs of SQLite hold no password, unless one is mistaken for another database's.
        let value = if self.0.contains('@') { "(set)" } else { &*self.0 };
        let allowed = format!(
            "sqlite:FILE with a file on a disk; with {form} the database ends with the connection \
             that made it"
        );
        Err(Invalid::new(field, value, allowed))
    }

    /// Options of connections to it; none where it is no URL of a database that outlives a connection.
    pub(super) fn target(&self) -> Option<Target> {
        if let Some(location) = self.sqlite_location() {
            if in_memory(location).is_some() {
                return None;
            }
            return SqliteConnectOptions::from_str(&self.0).ok().map(Target::Sqlite);
        }
        match self.0.split_once("://")?.0 {
            "postgres" | "postgresql" => {
                PgConnectOptions::from_str(&self.0).ok().map(Target::Postgres)
            }
            _ => None,
        }
    }

    /// Path and parameters of a URL of SQLite, as sqlx separates them from the scheme.
    fn sqlite_location(&self) -> Option<&str> {
        self.0
            .starts_with("sqlite:")
            .then(|| self.0.trim_start_matches("sqlite://").trim_start_matches("sqlite:"))
    }
}

/// The part of a URL of SQLite that keeps the database in memory, or in a temporary file, if there is
/// one: each connection would have a database of its own.
fn in_memory(location: &str) -> Option<&'static str> {
    let (path, parameters) = location.split_once('?').unwrap_or((location, ""));
    let path = decoded(path);
    // SQLite takes a name that begins so for a URI, and parses it once more.
    let by_uri = || {
        let uri = path.strip_prefix("file:")?.split('#').next()?;
        let uri = uri.strip_prefix("//localhost").unwrap_or(uri);
        let (path, parameters) = uri.split_once('?').unwrap_or((uri, ""));
        in_memory_by_name(&decoded(path)).or_else(|| in_memory_by_parameter(parameters))
    };
    in_memory_by_name(&path).or_else(|| in_memory_by_parameter(parameters)).or_else(by_uri)
}

/// The names that SQLite gives to databases without a file; and `/`, which names no file either.
fn in_memory_by_name(path: &str) -> Option<&'static str> {
    match path.trim_start_matches('/') {
        "" => Some("an empty path"),
        _ if path == ":memory:" => Some("`:memory:`"),
        _ => None,
    }
}

/// The parameters by which sqlx or SQLite keeps a database in memory.
fn in_memory_by_parameter(parameters: &str) -> Option<&'static str> {
    let mut pairs = parameters.split('&').filter_map(|parameter| parameter.split_once('='));
    pairs.find_map(|(name, value)| match (&*decoded(name), &*decoded(value)) {
        ("mode", "memory") => Some("`mode=memory`"),
        ("vfs", "memdb") => Some("`vfs=memdb`"),
        _ => None,
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
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
    use sqlx::{ConnectOptions as _, Connection as _};

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
            assert_eq!(Url::from(good).validate("url"), Ok(()), "{good}");
        }
        for bad in ["a.db", "mysql://a/b", "sqlite:", "sqlite://", "sqlite::memory:", "postgres:a"]
        {
            assert!(Url::from(bad).validate("url").is_err(), "{bad}");
        }
    }

    #[test]
    fn any_path_of_a_file_is_accepted() {
        for path in [
            "memory.db",
            "/var/lib/in-memory/keys.db",
            "//home/memory/keys.db?mode=rwc",
            "mode=memory",
            "a.db?immutable=1&vfs=unix-none",
            "%3Fmode=memory",
            "a:memory:",
            "file:keys.db",
            "file:/var/lib/memory.db",
        ] {
            let url = Url::from(format!("sqlite:{path}"));
            assert_eq!(url.validate("url"), Ok(()), "{path}");
        }
    }

    #[test]
    fn databases_in_memory_are_refused_by_name() {
        for location in [
            "",
            "//",
            "///",
            "?mode=rwc",
            ":memory:",
            "//:memory:",
            "%3Amemory%3A",
            ":memory:?cache=shared",
            "?mode=memory",
            "a.db?mode=memory",
            "a.db?cache=shared&mode=memory&mode=rwc",
            "a.db?mo%64e=mem%6fry",
            "/a.db?vfs=memdb",
            "file:",
            "file:%23a",
            "file::memory:",
            "file://localhost",
            "file:%253Amemory%253A",
            "file:a.db%3Fmode=memory",
            "file:/a.db%3Fvfs=memdb",
        ] {
            let url = format!("sqlite:{location}");
            let refused = Url::from(&*url).validate("store.url").expect_err(&url);
            assert_eq!((&*refused.field, &*refused.value), ("store.url", &*url));
            assert!(refused.allowed.contains("a file on a disk"), "{refused}");
        }
        for (url, form) in [
            ("sqlite:a.db?mode=memory", "`mode=memory`"),
            ("sqlite::memory:", "`:memory:`"),
            ("sqlite:file:a?vfs=memdb", "`vfs=memdb`"),
            ("sqlite:", "an empty path"),
        ] {
            let refused = Url::from(url).validate("store.url").expect_err(url);
            assert!(refused.allowed.contains(form), "{refused}");
        }
    }

    #[test]
    fn a_refused_url_does_not_tell_a_password() {
        for bad in ["mysql://a:hunter2@b/c", "sqlite://a:hunter2@b/c?mode=memory", "hunter2"] {
            let refused = Url::from(bad).validate("store.url").expect_err(bad).to_string();
            assert!(refused.contains("(set)") && !refused.contains("hunter2"), "{refused}");
        }
    }

    /// A path that the check accepts names a file to SQLite, too.
    #[tokio::test]
    async fn sqlite_and_the_check_agree_on_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().to_str().expect("text");
        for (location, is_in_memory) in [
            ("memory.db", false),
            ("%3Fmode=memory", false),
            ("x:memory:", false),
            ("a.db?mode=memory", true),
            ("a.db?vfs=memdb", true),
        ] {
            let location = format!("{folder}/{location}");
            let file = file_of(&format!("sqlite:{location}")).await;
            assert_eq!(file.is_empty(), is_in_memory, "{location}");
            assert_eq!(in_memory(&location).is_some(), is_in_memory, "{location}");
        }
        for location in [
            "",
            ":memory:",
            "%3Amemory%3A",
            "file:",
            "file::memory:",
            "file:%253Amemory%253A",
            "file:/a.db%3Fvfs=memdb",
            "file:a.db%3Fmode=memory",
        ] {
            let file = file_of(&format!("sqlite:{location}")).await;
            assert!(file.is_empty() && in_memory(location).is_some(), "{location}: {file}");
        }
    }

    /// The file of a database that is opened, as SQLite says it.
    async fn file_of(url: &str) -> String {
        let options = SqliteConnectOptions::from_str(url).expect(url).create_if_missing(true);
        let mut connection = options.connect().await.expect(url);
        let file = sqlx::query_scalar("SELECT file FROM pragma_database_list");
        let file: String = file.fetch_one(&mut connection).await.expect(url);
        connection.close().await.expect(url);
        file
    }
}
