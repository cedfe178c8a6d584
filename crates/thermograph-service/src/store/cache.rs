//! The cache before the table of keys: a request with a known key asks no database.
//!
//! - A key that is not fresh is used and looked up again meanwhile; one that may have changed is
//!   looked up first.
//! - What is no key is remembered apart and briefly, so that guessing neither asks the database each
//!   time nor drives good keys out.
//! - While the database is away, a key that was good is good for a time of grace; of others nobody
//!   can tell, and they are told to come again.
//!
//! Whoever hears of a change from elsewhere calls [`KeyCache::forget`], or [`KeyCache::doubt`] where
//! it is not known which key it was: that is all that another channel, such as Redis, has to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use metrics::{Counter, Unit, counter, describe_counter};
use moka::sync::Cache;
use tokio::{sync::Mutex, time};

use super::{
    Database, Hash, Key, StoreConfig, StoreError,
    failure_log::FailureLog,
    key::{Month, Spent},
    keys, usage,
};

/// How long it is remembered that something is no key.
const NO_KEY: Duration = Duration::from_secs(5);
/// How long the database is not asked again for a key after it did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Look-ups at a time, more or less; those of one key are always one.
const LANES: usize = 64;

/// Keys that were looked up.
pub(super) struct KeyCache {
    database: Database,
    good: Cache<Hash, Known>,
    none: Cache<Hash, ()>,
    /// Tokens of this month by the key's id; they outlive what is known of a key.
    spent: Cache<String, Arc<Spent>>,
    /// Goes up when any key may have changed.
    generation: AtomicU64,
    lanes: [Lane; LANES],
    /// Longest time that a look-up may take.
    patience: Duration,
    fresh: Duration,
    grace: Duration,
    meters: Meters,
    failures: FailureLog,
}

#[derive(Clone)]
struct Known {
    key: Arc<Key>,
    at: Instant,
    /// When the database did not answer, if that was the last time.
    failed_at: Option<Instant>,
    generation: u64,
    /// Whether somebody looks it up again.
    is_asked_for: Arc<AtomicBool>,
}

/// Where those go in a row who want the same key.
#[derive(Default)]
struct Lane {
    one: Mutex<()>,
    /// Goes up when one of its keys changes: what was read before is not kept.
    changes: AtomicU64,
}

/// What is known of a key without asking.
pub(super) enum Seen {
    /// It is there.
    Key(Arc<Key>),
    /// It was there, and should be looked up again when there is time.
    Old(Arc<Key>),
    /// There is none.
    None,
    /// The database has to be asked.
    Unknown,
}

struct Meters {
    hit: Counter,
    none: Counter,
    loaded: Counter,
    grace: Counter,
    failed: Counter,
}

impl KeyCache {
    pub(super) fn new(database: Database, config: &StoreConfig) -> Self {
        let bounded = |most| Cache::builder().max_capacity(most);
        Self {
            database,
            good: bounded(config.key_cache).time_to_live(config.key_grace).build(),
            none: Cache::builder().max_capacity(config.key_cache).time_to_live(NO_KEY).build(),
            spent: Cache::builder().max_capacity(config.key_cache).build(),
            generation: AtomicU64::new(0),
            lanes: std::array::from_fn(|_| Lane::default()),
            patience: config.acquire_timeout,
            fresh: config.key_cache_ttl,
            grace: config.key_grace,
            meters: Meters::new(),
            failures: FailureLog::default(),
        }
    }

    /// What is known without asking.
    pub(super) fn look(&self, hash: Hash) -> Seen {
        let Some(known) = self.good.get(&hash) else {
            if self.none.contains_key(&hash) {
                self.meters.none.increment(1);
                return Seen::None;
            }
            return Seen::Unknown;
        };
        if known.generation != self.generation.load(Relaxed) {
            return Seen::Unknown;
        }
        self.meters.hit.increment(1);
        if self.is_settled(&known) || known.is_asked_for.swap(true, Relaxed) {
            Seen::Key(known.key)
        } else {
            Seen::Old(known.key)
        }
    }

    /// Asks the database; one asks for all who want the same key.
    pub(super) async fn load(&self, hash: Hash) -> Result<Option<Arc<Key>>, StoreError> {
        let asked = time::timeout(self.patience, self.ask(hash)).await;
        let error = match asked {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Away("it takes too long".to_owned()),
        };
        self.failures.write(&error);
        let known = self.good.get(&hash).filter(|known| known.at.elapsed() < self.grace);
        let Some(known) = known else {
            self.meters.failed.increment(1);
            return Err(error);
        };
        self.meters.grace.increment(1);
        let key = Arc::clone(&known.key);
        let (failed_at, generation) = (Some(Instant::now()), self.generation.load(Relaxed));
        let is_asked_for = Arc::default();
        self.good.insert(hash, Known { failed_at, generation, is_asked_for, ..known });
        Ok(Some(key))
    }

    async fn ask(&self, hash: Hash) -> Result<Option<Arc<Key>>, StoreError> {
        let lane = &self.lanes[hash.place(LANES)];
        let _alone = lane.one.lock().await;
        let generation = self.generation.load(Relaxed);
        if let Some(known) = self.good.get(&hash)
            && known.generation == generation
            && self.is_settled(&known)
        {
            return Ok(Some(known.key));
        }
        if self.none.contains_key(&hash) {
            return Ok(None);
        }
        let changes = lane.changes.load(Relaxed);
        let found = self.find(hash).await?;
        self.meters.loaded.increment(1);
        // Nobody comes between: changes are heard of on the thread that this runs on.
        if lane.changes.load(Relaxed) == changes {
            self.keep(hash, found.as_ref(), generation);
        }
        Ok(found)
    }

    fn keep(&self, hash: Hash, found: Option<&Arc<Key>>, generation: u64) {
        let Some(key) = found.map(Arc::clone) else {
            self.good.invalidate(&hash);
            self.none.insert(hash, ());
            return;
        };
        let (at, failed_at, is_asked_for) = (Instant::now(), None, Arc::default());
        self.good.insert(hash, Known { key, at, failed_at, generation, is_asked_for });
    }

    /// Whether it need not be looked up again now.
    fn is_settled(&self, known: &Known) -> bool {
        let failed_now = known.failed_at.is_some_and(|at| at.elapsed() < AGAIN);
        failed_now || known.at.elapsed() < self.fresh
    }

    /// A key has changed.
    pub(super) fn forget(&self, hash: Hash) {
        self.lanes[hash.place(LANES)].changes.fetch_add(1, Relaxed);
        self.good.invalidate(&hash);
        self.none.invalidate(&hash);
    }

    /// Any key may have changed: all are looked up again before they are used, where that can be
    /// done.
    pub(super) fn doubt(&self) {
        self.generation.fetch_add(1, Relaxed);
        for lane in &self.lanes {
            lane.changes.fetch_add(1, Relaxed);
        }
        self.none.invalidate_all();
    }

    async fn find(&self, hash: Hash) -> Result<Option<Arc<Key>>, StoreError> {
        let Some(info) = keys::find(&self.database, hash).await? else { return Ok(None) };
        if info.monthly_tokens.is_none() {
            return Ok(Some(Arc::new(Key::new(info, None))));
        }
        let month = Month::of(Timestamp::now());
        let tokens = usage::tokens_since(&self.database, &info.id, month.start()).await?;
        let spent = self.spent.get_with(info.id.clone(), Arc::default);
        spent.at_least(month, tokens);
        Ok(Some(Arc::new(Key::new(info, Some(spent)))))
    }
}

impl Meters {
    fn new() -> Self {
        let name = "thermograph_store_key_lookups_total";
        describe_counter!(name, Unit::Count, "Look-ups of keys, by what answered them.");
        Self {
            hit: counter!(name, "result" => "cached"),
            none: counter!(name, "result" => "cached_none"),
            loaded: counter!(name, "result" => "database"),
            grace: counter!(name, "result" => "grace"),
            failed: counter!(name, "result" => "failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use tempfile::TempDir;

    use super::*;
    use crate::store::{Created, Keys, NewKey, Secret, Url, database::Pools};

    struct Setup {
        _folder: TempDir,
        keys: Keys,
        cache: KeyCache,
        created: Created,
        hash: Hash,
    }

    /// A cache on this thread's runtime, and a key in the database.
    fn setup(change: impl FnOnce(&mut StoreConfig)) -> Setup {
        let folder = tempfile::tempdir().expect("a folder");
        let url = Url::from(format!("sqlite:{}", folder.path().join("keys.db").display()));
        let mut config = StoreConfig { url, ..StoreConfig::default() };
        change(&mut config);
        let keys = Keys::open(&config).expect("opened");
        let created = keys.create(&NewKey::named("test")).expect("made");
        let hash = created.secret.hash();
        let target = config.url.target().expect("a database").prepared(&config);
        let cache = KeyCache::new(Database::new(target, &config), &config);
        Setup { _folder: folder, keys, cache, created, hash }
    }

    impl Setup {
        async fn key(&self) -> Arc<Key> {
            self.cache.load(self.hash).await.expect("an answer").expect("a key")
        }

        async fn database_goes_away(&self) {
            let Pools::Sqlite(pool) = &self.cache.database.pools else { panic!("it is SQLite") };
            pool.close().await;
        }
    }

    #[tokio::test]
    async fn one_asks_for_all_who_want_the_same() {
        let setup = setup(|_| {});
        let (first, others) = tokio::join!(setup.key(), async {
            let mut others = Vec::new();
            for _ in 0..3 {
                others.push(tokio::join!(setup.key(), setup.key()));
            }
            others
        });
        for (one, two) in others {
            assert!(Arc::ptr_eq(&first, &one) && Arc::ptr_eq(&first, &two));
        }
        assert!(matches!(setup.cache.look(setup.hash), Seen::Key(_)));
    }

    #[tokio::test]
    async fn what_is_no_key_is_remembered_until_a_key_changes() {
        let setup = setup(|_| {});
        let none = Secret::new().expect("random bits").hash();
        assert!(matches!(setup.cache.look(none), Seen::Unknown));
        assert!(setup.cache.load(none).await.expect("an answer").is_none());
        assert!(matches!(setup.cache.look(none), Seen::None));
        setup.cache.forget(none);
        assert!(matches!(setup.cache.look(none), Seen::Unknown));
    }

    #[tokio::test]
    async fn a_change_is_seen_at_once() {
        let setup = setup(|_| {});
        let before = setup.key().await;
        setup.keys.revoke(&setup.created.info.id).expect("revoked");
        assert!(before.info.revoked_at.is_none() && setup.key().await.info.revoked_at.is_none());
        setup.cache.forget(setup.hash);
        assert!(setup.key().await.info.revoked_at.is_some());
        setup.cache.doubt();
        assert!(matches!(setup.cache.look(setup.hash), Seen::Unknown));
        assert!(setup.key().await.info.revoked_at.is_some());
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept() {
        let setup = setup(|_| {});
        let mut loading = pin!(setup.cache.load(setup.hash));
        // It has asked, and was not answered yet.
        let asked = poll_fn(|context| Poll::Ready(loading.as_mut().poll(context)));
        assert!(asked.await.is_pending());
        setup.cache.forget(setup.hash);
        loading.await.expect("an answer");
        assert!(matches!(setup.cache.look(setup.hash), Seen::Unknown));
    }

    #[tokio::test]
    async fn while_the_database_is_away_a_good_key_is_good_for_a_time_of_grace() {
        let short = Duration::from_millis(1);
        let setup = setup(|config| config.key_cache_ttl = short);
        let before = setup.key().await;
        setup.database_goes_away().await;
        setup.cache.doubt();
        assert!(Arc::ptr_eq(&before, &setup.key().await));
        // It is not asked for at every request.
        assert!(matches!(setup.cache.look(setup.hash), Seen::Key(_)));
        let unknown = Secret::new().expect("random bits").hash();
        let nobody_can_tell = setup.cache.load(unknown).await.map(|_| ()).expect_err("away");
        assert!(matches!(nobody_can_tell, StoreError::Away(_)), "{nobody_can_tell}");
        assert!(matches!(setup.cache.look(unknown), Seen::Unknown));
    }

    #[tokio::test]
    async fn a_key_that_is_not_fresh_is_used_and_asked_for_by_one() {
        let setup = setup(|config| config.key_cache_ttl = Duration::ZERO);
        setup.key().await;
        assert!(matches!(setup.cache.look(setup.hash), Seen::Old(_)));
        assert!(matches!(setup.cache.look(setup.hash), Seen::Key(_)));
    }
}
