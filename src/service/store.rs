//! The store: keys of the API, and the ledger of what each request has used; in SQLite or Postgres.
//!
//! Without a URL there is none, and nothing of it costs anything.
//!
//! ```text
//! request ── Caller ── cache of keys ──▶ database        (store: a thread with a runtime)
//!    └ answer is over ── queue ── batch ──▶ database      (ledger: another)
//!                                   └────▶ spool, while the database is away
//! ```

mod config;
mod database;
mod error;
mod home;
mod keys;
mod secret;
mod url;

pub use self::{
    config::StoreConfig,
    error::StoreError,
    keys::{Created, KeyInfo, Keys, NewKey, Scope},
    secret::Secret,
    url::Url,
};
use self::{database::Database, home::Home, secret::Hash};

/// Opens the database on its thread, and makes the tables that are missing; blocks while it does.
fn open(home: &Home, config: &StoreConfig) -> Result<Database, StoreError> {
    let target = config.url.target().ok_or(StoreError::Url)?.prepared(config);
    let config = config.clone();
    let opened = home.wait(async move {
        target.migrate(config.start_timeout).await?;
        Ok(Database::new(target, &config))
    });
    opened.ok_or(StoreError::Stopped)?
}
