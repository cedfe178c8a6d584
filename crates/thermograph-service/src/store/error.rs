//! Why the store could not do what it was asked for.

use std::io;

use thiserror::Error;

/// Why the store could not do what it was asked for. What a driver says of a URL is left out: there
/// may be a password in it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is none.
    #[error(
        "there is no store: `[store]` with `url = \"sqlite:thermograph.db\"` in the configuration, \
         or THERMOGRAPH_STORE_URL=sqlite:thermograph.db, makes one"
    )]
    None,
    /// Its URL is none.
    #[error("store.url: it is not the URL of a database")]
    Url,
    /// The database cannot be opened.
    #[error("store.url: the database at {place} cannot be opened: {why}")]
    Open {
        /// Where it is.
        place: String,
        /// What the database or the system said.
        why: String,
    },
    /// The tables cannot be made, or are those of another program.
    #[error("store.url: the tables of the database at {place} cannot be made: {why}")]
    Migrate {
        /// Where it is.
        place: String,
        /// What the database said.
        why: String,
    },
    /// The folder for rows cannot be used.
    #[error("store.spool: {folder} cannot be used: {why}")]
    Spool {
        /// The folder.
        folder: String,
        /// What the system said.
        why: io::Error,
    },
    /// The database is away, or takes too long.
    #[error("the database does not answer: {0}")]
    Away(String),
    /// The database refuses what it is asked for.
    #[error("the database refuses: {0}")]
    Refused(String),
    /// There is no such key.
    #[error("there is no key `{0}`; `thermograph keys list` lists those that there are")]
    NoKey(String),
    /// A key that is revoked or expired cannot be made anew.
    #[error("the key `{0}` is revoked or expired, and is not made anew")]
    Ended(String),
    /// A key is not to be made as it was asked for.
    #[error(transparent)]
    Invalid(#[from] thermograph_common::Invalid),
    /// The system has no random bits.
    #[error("the system gives no random bits")]
    NoRandomness,
    /// A thread could not be started.
    #[error("a thread of the store cannot be started: {0}")]
    Thread(io::Error),
    /// The store was stopped.
    #[error("the store was stopped")]
    Stopped,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            error @ sqlx::Error::Database(_) => Self::Refused(reason(&error)),
            // What is decoded is ours.
            error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound) => {
                Self::Refused(error.to_string())
            }
            error => Self::Away(error.to_string()),
        }
    }
}

/// Message of a database error, with the setting that fixes it if one is known.
pub(super) fn reason(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // A prepared statement that exists already, and one that does not exist.
    if !matches!(code.as_deref(), Some("42P05" | "26000")) {
        return error.to_string();
    }
    format!("{error}: behind a pooler in transaction mode, `store.statement_cache` has to be 0")
}
