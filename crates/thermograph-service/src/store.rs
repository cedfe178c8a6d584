//! The store: keys of the API, and the ledger of what each request has used; in SQLite or Postgres.
//!
//! Without a URL there is none, and nothing of it costs anything.
//!
//! ```text
//! request ── Caller ── cache of keys ──▶ database        (store: a thread with a runtime)
//!    └ answer is over ── queue ── batch ──▶ database      (ledger: another)
//!                                   └────▶ spool, while the database is away
//! ```

mod cache;
mod changes;
mod config;
mod database;
mod error;
mod failure_log;
mod home;
mod key;
mod keys;
mod ledger;
mod secret;
mod table;
mod url;
mod usage;

use std::sync::Arc;

use self::{
    cache::{KeyCache, Seen},
    database::Database,
    home::Home,
    ledger::Ledger,
    secret::Hash,
};
pub use self::{
    config::StoreConfig,
    error::StoreError,
    keys::{Created, KeyInfo, Keys, NewKey, Scope},
    secret::Secret,
    url::Url,
};
pub(crate) use self::{
    key::Key,
    ledger::{Bill, Streaming},
    usage::{Span, Sums, Used},
};
use super::request_id::RequestId;

/// The store of a process; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    database: Database,
    cache: Arc<KeyCache>,
    ledger: Ledger,
    require_keys: bool,
}

/// What a key turned out to be.
pub(crate) enum Presented {
    /// One of ours, good or not any more.
    Key(Arc<Key>),
    /// It looks like one of ours, and is none.
    Unknown,
    /// It is somebody else's.
    Foreign,
}

impl Store {
    /// Checks that the folder of a database in a file is there. Blocks.
    pub(crate) fn check(config: &StoreConfig) -> Result<(), StoreError> {
        config.url.target().map_or(Ok(()), |target| target.check())
    }

    /// Opens the database, and starts the threads; blocks while it does. None: there is no store.
    pub(crate) fn start(config: &StoreConfig) -> Result<Option<Self>, StoreError> {
        if config.url.is_empty() {
            return Ok(None);
        }
        let target = config.url.target().ok_or(StoreError::Url)?.prepared(config);
        let home = Home::idle("store").map_err(StoreError::Thread)?;
        let database = open(&home, config)?;
        let cache = Arc::new(KeyCache::new(database.clone(), config));
        home.spawn(changes::follow(Arc::clone(&cache), target.clone()));
        let ledger = Ledger::start(target, config)?;
        let require_keys = config.require_keys;
        let inner = Inner { home, database, cache, ledger, require_keys };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// Whether requests without a key are refused.
    pub(crate) fn requires_keys(&self) -> bool {
        self.inner.require_keys
    }

    /// Looks up what a client presents. An error: it looks like a key, and nobody can tell now.
    pub(crate) async fn present(&self, text: &str) -> Result<Presented, StoreError> {
        let Some(hash) = Hash::of_presented(text) else { return Ok(Presented::Foreign) };
        let Inner { home, cache, .. } = &*self.inner;
        let load = || {
            let cache = Arc::clone(cache);
            async move { cache.load(hash).await }
        };
        let key = match cache.look(hash) {
            Seen::Key(key) => Some(key),
            Seen::Old(key) => {
                let load = load();
                home.spawn(async move {
                    // It says so itself where it fails.
                    let _ = load.await;
                });
                Some(key)
            }
            Seen::None => None,
            Seen::Unknown => home.run(load()).await.map_err(|_| StoreError::Stopped)??,
        };
        Ok(key.map_or(Presented::Unknown, Presented::Key))
    }

    /// A bill for a request.
    pub(crate) fn bill(
        &self,
        key: Option<Arc<Key>>,
        endpoint: &'static str,
        request_id: &RequestId,
    ) -> Bill {
        Bill::open(&self.inner.ledger, key, endpoint, request_id)
    }

    /// What was used, at most so many lines of it.
    pub(crate) async fn used(&self, span: Span, most: usize) -> Result<Vec<Used>, StoreError> {
        let database = self.inner.database.clone();
        let used = async move { usage::of(&database, &span, most).await };
        self.inner.home.run(used).await.map_err(|_| StoreError::Stopped)?
    }

    /// Writes what is left of the ledger, and ends the threads; blocks while it does.
    pub(crate) fn stop(&self) {
        self.inner.ledger.stop();
        self.inner.home.stop();
    }
}

/// Opens the database on its thread, and makes the tables that are missing; blocks while it does.
fn open(home: &Home, config: &StoreConfig) -> Result<Database, StoreError> {
    let target = config.url.target().ok_or(StoreError::Url)?.prepared(config);
    target.check()?;
    let config = config.clone();
    let opened = home.wait(async move {
        target.migrate(config.start_timeout).await?;
        Ok(Database::new(target, &config))
    });
    opened.ok_or(StoreError::Stopped)?
}
