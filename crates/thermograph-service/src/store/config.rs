//! The configuration of the store.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;

use super::Url;

/// Where keys and the ledger are, and what is done while that is away.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The database: `sqlite:thermograph.db` or `postgres://user@host/name`; empty: there is no
    /// store. Default is empty.
    pub url: Url,
    /// File that holds the URL; read when the configuration is loaded. Default is none.
    pub url_file: PathBuf,
    /// Most connections for keys and reports; the ledger has one of its own, and so has whoever
    /// listens for changes of keys. Default is 8.
    pub max_connections: u32,
    /// Longest time that a look-up waits for the database. Default is 2 s.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// Prepared statements kept for each connection; 0: none, and each statement of Postgres is
    /// unnamed and in a transaction, as poolers in transaction mode want it. Default is 64.
    pub statement_cache: usize,
    /// How long a start waits for a database that is not there yet; then it fails. Default is 30 s.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// Whether requests without a key are answered 401. Default is false.
    pub require_keys: bool,
    /// Most keys that are remembered, and as many that are none. Default is 10000.
    pub key_cache: u64,
    /// After this time a key is looked up again. Default is 60 s.
    #[serde(with = "duration")]
    pub key_cache_ttl: Duration,
    /// How long a key that was good is good while the database is away. Default is 1 h.
    #[serde(with = "duration")]
    pub key_grace: Duration,
    /// Most rows of the ledger that wait in memory. Default is 16384.
    pub queue: usize,
    /// Most rows that are written at a time: a commit costs as much for one as for many. Default is
    /// 4096.
    pub batch: usize,
    /// Longest time that a row waits for others. Default is 200 ms.
    #[serde(with = "duration")]
    pub flush_interval: Duration,
    /// Longest time that a batch may take, and the last rows at the end; then rows go to the spool.
    /// Default is 5 s.
    #[serde(with = "duration")]
    pub flush_timeout: Duration,
    /// Folder for rows that cannot be written; processes may share it. Default is `spool`.
    pub spool: PathBuf,
    /// Largest size of that folder's rows; further ones are dropped, and counted. Default is
    /// 256 MiB.
    pub spool_limit: ByteSize,
}

impl StoreConfig {
    /// Bounds of [`StoreConfig::spool_limit`].
    const SPOOL_LIMIT: std::ops::RangeInclusive<u64> = 4096..=1 << 40;

    /// Checks what the types cannot say.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let field = |key: &str| format!("store.{key}");
        self.url.validate(&field("url"))?;
        if self.require_keys && self.url.is_empty() {
            let allowed = "false, since there is no `store.url` where keys could be";
            return Err(Invalid::new(field("require_keys"), true, allowed));
        }
        let counts = [
            ("max_connections", self.max_connections as usize, 1, 1000),
            ("statement_cache", self.statement_cache, 0, 10_000),
            ("key_cache", usize::try_from(self.key_cache).unwrap_or(usize::MAX), 1, 10_000_000),
            ("queue", self.queue, 1, 1_000_000),
            ("batch", self.batch, 1, 5000),
        ];
        for (key, value, least, most) in counts {
            Invalid::unless_within(field(key), value, least..=most)?;
        }
        let (ms, day) = (Duration::from_millis(1), Duration::from_hours(24));
        let times = [
            ("acquire_timeout", self.acquire_timeout, Duration::from_mins(1)),
            ("start_timeout", self.start_timeout, Duration::from_hours(1)),
            ("key_cache_ttl", self.key_cache_ttl, day),
            ("key_grace", self.key_grace, 365 * day),
            ("flush_interval", self.flush_interval, Duration::from_mins(1)),
            ("flush_timeout", self.flush_timeout, Duration::from_mins(10)),
        ];
        for (key, value, most) in times {
            Invalid::unless_within(field(key), value, ms..=most)?;
        }
        if self.spool.as_os_str().is_empty() {
            return Err(Invalid::new(field("spool"), "", "the path of a folder"));
        }
        if !Self::SPOOL_LIMIT.contains(&self.spool_limit.as_u64()) {
            return Err(Invalid::new(field("spool_limit"), self.spool_limit, "4 KiB to 1 TiB"));
        }
        Ok(())
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: Url::default(),
            url_file: PathBuf::new(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(2),
            statement_cache: 64,
            start_timeout: Duration::from_secs(30),
            require_keys: false,
            key_cache: 10_000,
            key_cache_ttl: Duration::from_mins(1),
            key_grace: Duration::from_hours(1),
            queue: 16_384,
            batch: 4096,
            flush_interval: Duration::from_millis(200),
            flush_timeout: Duration::from_secs(5),
            spool: PathBuf::from("spool"),
            spool_limit: ByteSize::mib(256),
        }
    }
}
