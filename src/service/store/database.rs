//! The connections to the database, few and bounded, and the tables in it.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Pool, Postgres, Sqlite,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
    pool::{PoolConnection, PoolOptions},
    sqlite::{SqliteJournalMode, SqliteSynchronous},
};
use tokio::time;

use super::{StoreConfig, StoreError, error::reason, url::Target};

/// How long SQLite waits for another who writes.
const BUSY: Duration = Duration::from_secs(2);
/// From one try to the next, while the database is not there yet.
const AGAIN: Duration = Duration::from_millis(250);
/// What Postgres shows of who is connected.
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
            $crate::service::store::database::Pools::Sqlite(pool) => {
                let mut $connection = $database.meters.acquire(pool).await?;
                $then
            }
            $crate::service::store::database::Pools::Postgres(pool) => {
                let mut $connection = $database.meters.acquire(pool).await?;
                $then
            }
            $crate::service::store::database::Pools::PostgresPooler(pool) => {
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
                let made = make_tables(&mut connection, Self::SQLITE).await;
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

    const SQLITE: [&'static str; 2] = [
        include_str!("migrations/sqlite/0001_keys_and_ledger.sql"),
        include_str!("migrations/sqlite/0002_usage.sql"),
    ];
    const POSTGRES: [&'static str; 2] = [
        include_str!("migrations/postgres/0001_keys_and_ledger.sql"),
        include_str!("migrations/postgres/0002_usage.sql"),
    ];

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
    make_tables(&mut *all, Target::POSTGRES).await?;
    sqlx::raw_sql(FORGET).execute(&mut *all).await?;
    all.commit().await?;
    // The tables are there, whatever becomes of the connection.
    let _ = connection.close().await;
    Ok(())
}

async fn make_tables<C: Migrate>(
    connection: &mut C,
    sql: [&'static str; 2],
) -> Result<(), MigrateError> {
    let names = ["keys and ledger", "usage"];
    let migrations = (1..).zip(names).zip(sql).map(|((version, name), sql)| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // SQLite has no such lock.
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await
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
