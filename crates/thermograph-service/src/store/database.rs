//! The connections to the database, few and bounded, and the tables in it.

use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Pool, Postgres, Sqlite,
    migrate::{Migrate, MigrateError, Migrator},
    pool::{PoolConnection, PoolOptions},
    sqlite::{SqliteJournalMode, SqliteSynchronous},
};
use tokio::time;

use super::{StoreConfig, StoreError, error::reason, url::Target};

/// Longest wait of SQLite for another writer.
const BUSY: Duration = Duration::from_secs(2);
/// From one try to the next, while the database is not there yet.
const AGAIN: Duration = Duration::from_millis(250);
/// Name of the client in Postgres' list of connections.
const NAME: &str = "thermograph";
/// Lock of the instance that makes the tables, until the end of its transaction; the number is ours.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7306321455116542)";

/// A pool of connections; cheap to clone, all clones are one.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) pools: Pools,
    pub(super) meters: PoolMeters,
}

/// The pool, by who answers.
#[derive(Clone)]
pub(super) enum Pools {
    Sqlite(Pool<Sqlite>),
    Postgres(Pool<Postgres>),
    /// Postgres behind a pooler that gives each transaction a connection: what is prepared outside
    /// of one may be on another connection than the next message.
    PostgresPooler(Pool<Postgres>),
}

/// Metrics of the pool.
#[derive(Clone)]
pub(super) struct PoolMeters {
    idle: Gauge,
    used: Gauge,
    wait: Histogram,
    timeouts: Counter,
}

/// Takes a connection of whichever pool there is, and goes on in the same words for all.
macro_rules! on_connection {
    ($database:expr, $connection:ident => $then:expr) => {
        match &$database.pools {
            $crate::store::database::Pools::Sqlite(pool) => {
                let mut $connection = $database.meters.acquire(pool).await?;
                $then
            }
            $crate::store::database::Pools::Postgres(pool) => {
                let mut $connection = $database.meters.acquire(pool).await?;
                $then
            }
            $crate::store::database::Pools::PostgresPooler(pool) => {
                let mut connection = $database.meters.acquire(pool).await?;
                let mut $connection = sqlx::Connection::begin(&mut *connection).await?;
                let value = $then;
                $connection.commit().await?;
                value
            }
        }
    };
}
pub(super) use on_connection;

impl Target {
    /// With what all connections have in common. A commit is on the disk when it is answered: a
    /// batch of the ledger is one commit, off every request's path, so that costs nobody anything.
    pub(super) fn prepared(self, config: &StoreConfig) -> Self {
        match self {
            Self::Sqlite(options) => Self::Sqlite(
                options
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BUSY)
                    .statement_cache_capacity(config.statement_cache)
                    .disable_statement_logging(),
            ),
            Self::Postgres(options) => Self::Postgres(
                options
                    .application_name(NAME)
                    // Poolers reject parameters that they do not know; numbers come in binary.
                    .extra_float_digits(None)
                    .statement_cache_capacity(config.statement_cache)
                    .disable_statement_logging(),
            ),
        }
    }

    /// Makes the tables that are missing, and waits for a database that is not there yet.
    pub(super) async fn migrate(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = time::Instant::now() + patience;
        loop {
            let tried = time::timeout_at(deadline, self.try_migrate());
            let failed = match tried.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failed)) => failed,
                Err(_) => {
                    let why = format!("it did not answer within {patience:?}");
                    return Err(StoreError::Open { place: self.place(), why });
                }
            };
            if !failed.may_pass || time::Instant::now() + AGAIN >= deadline {
                return Err(failed.error);
            }
            time::sleep(AGAIN).await;
        }
    }

    async fn try_migrate(&self) -> Result<(), Failed> {
        match self {
            Self::Sqlite(options) => {
                // Migrations of SQLite take no lock: of two at once, one finds the other's tables
                // when it tries again.
                let options = options.clone().create_if_missing(true);
                let connection = options.connect().await;
                let mut connection = connection.map_err(|error| self.failed(&error))?;
                let made = make_tables(&mut connection, sqlite_migrations()).await;
                // The tables are there, whatever becomes of the connection.
                let _ = connection.close().await;
                made.map_err(|error| self.no_tables(&error, true))
            }
            Self::Postgres(options) => {
                let connection = options.connect().await.map_err(|error| self.failed(&error))?;
                let made = make_tables_at_once(connection).await;
                made.map_err(|error| self.no_tables(&error, false))
            }
        }
    }

    fn failed(&self, error: &sqlx::Error) -> Failed {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let may_pass = match (error, code.as_deref()) {
            (sqlx::Error::Io(_), _) => true,
            // It starts, it stops, it has no place left; it is busy.
            (_, Some(code)) => {
                ["57P", "53", "08"].iter().any(|of| code.starts_with(of)) || code == "5"
            }
            _ => false,
        };
        let error = StoreError::Open { place: self.place(), why: reason(error) };
        Failed { error, may_pass }
    }

    fn no_tables(&self, error: &MigrateError, may_pass: bool) -> Failed {
        // Of another version: that does not pass.
        let is_other =
            matches!(error, MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_));
        let may_pass = may_pass && !is_other;
        let why = match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                reason(error)
            }
            error => error.to_string(),
        };
        let error = StoreError::Migrate { place: self.place(), why };
        Failed { error, may_pass }
    }
}

struct Failed {
    error: StoreError,
    may_pass: bool,
}

/// Makes the tables in one transaction, which also a pooler leaves on one connection; a lock of the
/// session, as the migrator has it, would stay behind there, and so would prepared statements.
async fn make_tables_at_once(mut connection: PgConnection) -> Result<(), MigrateError> {
    const FORGET: &str = "DEALLOCATE ALL";
    let mut all = connection.begin().await?;
    sqlx::raw_sql(FORGET).execute(&mut *all).await?;
    sqlx::raw_sql(LOCK).execute(&mut *all).await?;
    make_tables(&mut *all, postgres_migrations()).await?;
    sqlx::raw_sql(FORGET).execute(&mut *all).await?;
    all.commit().await?;
    // The tables are there, whatever becomes of the connection.
    let _ = connection.close().await;
    Ok(())
}

async fn make_tables<C: Migrate>(
    connection: &mut C,
    mut migrator: Migrator,
) -> Result<(), MigrateError> {
    // SQLite has no such lock.
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await
}

/// The files of `migrations/sqlite`, in the order of the numbers in their names. A file that a release
/// has shipped is never edited: databases hold its checksum.
// The macro's paths are relative to CARGO_MANIFEST_DIR, the folder of this crate's Cargo.toml;
// `build.rs` has the crate compiled again when a file is added there.
fn sqlite_migrations() -> Migrator {
    sqlx::migrate!("migrations/sqlite")
}

/// The same of `migrations/postgres`.
fn postgres_migrations() -> Migrator {
    sqlx::migrate!("migrations/postgres")
}

impl Database {
    /// Connects when it is first asked; in the context of the runtime that drives it.
    pub(super) fn new(target: Target, config: &StoreConfig) -> Self {
        let pools = match target {
            Target::Sqlite(options) => Pools::Sqlite(pool(config).connect_lazy_with(options)),
            Target::Postgres(options) => {
                let pool = pool(config).connect_lazy_with(options);
                match config.statement_cache {
                    0 => Pools::PostgresPooler(pool),
                    _ => Pools::Postgres(pool),
                }
            }
        };
        Self { pools, meters: PoolMeters::new(config) }
    }

    /// Returns whether statements are prepared under names, to be used again.
    pub(super) fn names_statements(&self) -> bool {
        !matches!(self.pools, Pools::PostgresPooler(_))
    }
}

fn pool<D: sqlx::Database>(config: &StoreConfig) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
}

impl PoolMeters {
    fn new(config: &StoreConfig) -> Self {
        use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
        let (name, help) = ("thermograph_store_connections", "Connections of the pool, by state.");
        describe_gauge!(name, Unit::Count, help);
        let (most, help) = ("thermograph_store_connections_limit", "Most connections of the pool.");
        describe_gauge!(most, Unit::Count, help);
        metrics::gauge!(most).set(config.max_connections);
        let (wait, help) =
            ("thermograph_store_acquire_seconds", "Time until there is a connection.");
        describe_histogram!(wait, Unit::Seconds, help);
        let timeouts = "thermograph_store_acquire_timeouts_total";
        describe_counter!(timeouts, Unit::Count, "Waits for a connection that were given up.");
        Self {
            idle: metrics::gauge!(name, "state" => "idle"),
            used: metrics::gauge!(name, "state" => "used"),
            wait: metrics::histogram!(wait),
            timeouts: metrics::counter!(timeouts),
        }
    }

    /// A connection, within the time that the pool allows.
    pub(super) async fn acquire<D: sqlx::Database>(
        &self,
        pool: &Pool<D>,
    ) -> Result<PoolConnection<D>, sqlx::Error> {
        let began = Instant::now();
        let acquired = pool.acquire().await;
        self.wait.record(began.elapsed());
        if matches!(acquired, Err(sqlx::Error::PoolTimedOut)) {
            self.timeouts.increment(1);
        }
        self.show(pool);
        acquired
    }

    fn show<D: sqlx::Database>(&self, pool: &Pool<D>) {
        let idle = pool.num_idle();
        self.idle.set(idle as f64);
        self.used.set((pool.size() as usize).saturating_sub(idle) as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{Keys, Url};

    /// Version, description and SHA-384 of each migration, as released versions have recorded them.
    const RELEASED: [(&str, i64, &str, &str); 4] = [
        (
            "sqlite",
            1,
            "keys and ledger",
            "e50d8ec723b67bcd6a932d06686809f21d0a8787def3ee3d5ad485d341855f0e9c6bfa0e5a0e73e3e6dc272e27b98998",
        ),
        (
            "sqlite",
            2,
            "usage",
            "f71fa0b8decdcc516974619787cf0898ce48d3ed57cf13a98f32be539795783139e62d406762d4ca47d22e4f766a217e",
        ),
        (
            "postgres",
            1,
            "keys and ledger",
            "9a23ec5ed997de94c74bd24fff61947ac5edda68fa9fca5669abab4a2289aef94d42c1f5c24f9c6d98c876648fa0e58e",
        ),
        (
            "postgres",
            2,
            "usage",
            "29a9f00ba5394de631654f1a6e30f8c184cc7baa90a9540d3bda8d34793a39a946c28b955e5a41fd1bfe9a21c87504fd",
        ),
    ];

    fn migrations(of: &str) -> Migrator {
        if of == "sqlite" { sqlite_migrations() } else { postgres_migrations() }
    }

    #[test]
    fn released_migrations_stay_as_databases_have_recorded_them() {
        for (of, version, description, checksum) in RELEASED {
            let migrator = migrations(of);
            let migration = migrator.iter().find(|migration| migration.version == version);
            let migration = migration.expect(description);
            assert_eq!(migration.description, description);
            assert_eq!(hex::encode(&migration.checksum), checksum, "{of}, {description}");
        }
    }

    #[tokio::test]
    async fn each_file_of_the_folder_is_embedded() {
        for of in ["sqlite", "postgres"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(of);
            let there = Migrator::new(&*folder).await.expect("migrations");
            let checksums = |migrator: &Migrator| {
                migrator.iter().map(|migration| migration.checksum.to_vec()).collect::<Vec<_>>()
            };
            assert_eq!(checksums(&migrations(of)), checksums(&there), "{of}");
            let count = i64::try_from(there.iter().len()).expect("a small number");
            // Each has the number after the one before.
            assert!(migrations(of).iter().map(|migration| migration.version).eq(1..=count), "{of}");
        }
    }

    /// The table in which migrations are recorded, as sqlx 0.9 makes it, and what is in it where a
    /// released version has made the database.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_of_a_released_version_is_opened_and_brought_up_to_date() {
        let folder = tempfile::tempdir().expect("a folder");
        for applied in 0..=2 {
            let file = folder.path().join(format!("{applied}.db"));
            let url = format!("sqlite:{}", file.display());
            let Some(Target::Sqlite(options)) = Url::from(&*url).target() else { panic!("SQLite") };
            let mut old = options.create_if_missing(true).connect().await.expect("opened");
            let recorded = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, \
                            description TEXT NOT NULL, \
                            installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
                            success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
                            execution_time BIGINT NOT NULL)";
            sqlx::raw_sql(recorded).execute(&mut old).await.expect("made");
            let released = RELEASED.iter().filter(|released| released.0 == "sqlite");
            for (_, version, description, checksum) in released.take(applied) {
                let migrator = sqlite_migrations();
                let found = migrator.iter().find(|migration| migration.version == *version);
                let sql = found.expect("a migration").sql.clone();
                sqlx::raw_sql(sql).execute(&mut old).await.expect("made");
                let record = "INSERT INTO _sqlx_migrations VALUES ($1, $2, \
                              '2026-11-01 00:00:00', true, $3, 1)";
                let checksum = hex::decode(checksum).expect("digits");
                let record = sqlx::query(record).bind(version).bind(*description).bind(checksum);
                record.execute(&mut old).await.expect("recorded");
            }
            old.close().await.expect("closed");

            let config = StoreConfig { url: Url::from(url), ..StoreConfig::default() };
            let keys = tokio::task::spawn_blocking(move || Keys::open(&config)?.list());
            assert_eq!(keys.await.expect("no panic").expect("opened"), [], "{applied}");
        }
    }
}
