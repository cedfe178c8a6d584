//! Hears of changes of keys, by whichever process: Postgres tells of them, SQLite is asked.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Pool, Postgres, SqliteConnection, pool::PoolOptions, postgres::PgListener,
};
use tokio::time;

use super::{Hash, cache::KeyCache, error::reason, url::Target};

/// What Postgres tells of changes on; see the migrations.
const CHANNEL: &str = "thermograph_keys";
/// How often SQLite is asked, and how long is waited before the next try where that fails.
const INTERVAL: Duration = Duration::from_millis(250);
/// After this time of silence Postgres is asked whether it is there still, and has as long to answer.
const SILENCE: Duration = Duration::from_secs(1);
/// Goes up with every change.
const GENERATION: &str = "SELECT generation FROM key_changes";

/// Keeps the cache true, for ever; on a connection of its own.
pub(super) async fn follow(cache: Arc<KeyCache>, target: Target) {
    let mut failed = Failed(false);
    loop {
        let error = match &target {
            Target::Sqlite(options) => match options.connect().await {
                Ok(connection) => poll(&cache, connection, &mut failed).await,
                Err(error) => error,
            },
            Target::Postgres(options) => {
                // A listener wants a pool.
                let pool = PoolOptions::new().max_connections(1);
                listen(&cache, &pool.connect_lazy_with(options.clone()), &mut failed).await
            }
        };
        failed.is(&error);
        time::sleep(INTERVAL).await;
    }
}

/// Whether the last try failed: said once.
struct Failed(bool);

impl Failed {
    fn is(&mut self, error: &sqlx::Error) {
        if !std::mem::replace(&mut self.0, true) {
            let error = reason(error);
            tracing::warn!(
                error,
                "changes of keys are not heard of; keys that are known stay good"
            );
        }
    }

    fn is_over(&mut self) {
        if std::mem::replace(&mut self.0, false) {
            tracing::info!("changes of keys are heard of again");
        }
    }
}

/// Listens until the connection is lost. What was told before is not told again, so there is doubt
/// of every key at first.
async fn listen(cache: &KeyCache, pool: &Pool<Postgres>, failed: &mut Failed) -> sqlx::Error {
    let listening = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    let mut listener = match listening.await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    failed.is_over();
    cache.doubt();
    loop {
        // Cancel-safe: what was read in part is read on.
        let Ok(heard) = time::timeout(SILENCE, listener.try_recv()).await else {
            // Sent as text: poolers keep no prepared statement for the next message.
            let ping = sqlx::raw_sql("SELECT 1").execute(&mut listener);
            match time::timeout(SILENCE, ping).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => return error,
                Err(_) => return sqlx::Error::PoolTimedOut,
            }
        };
        match heard {
            Ok(Some(told)) => match Hash::from_hex(told.payload()) {
                Some(hash) => cache.forget(hash),
                None => cache.doubt(),
            },
            Ok(None) => return sqlx::Error::WorkerCrashed,
            Err(error) => return error,
        }
    }
}

/// Asks whether anybody has written, which reads no page, and only then what.
async fn poll(
    cache: &KeyCache,
    mut connection: SqliteConnection,
    failed: &mut Failed,
) -> sqlx::Error {
    let (mut version, mut generation) = (None, None);
    loop {
        let asked = async {
            let now: i64 =
                sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut connection).await?;
            if version != Some(now) {
                let newest: i64 = sqlx::query_scalar(GENERATION).fetch_one(&mut connection).await?;
                if generation != Some(newest) {
                    cache.doubt();
                }
                (version, generation) = (Some(now), Some(newest));
            }
            Ok(())
        };
        if let Err(error) = asked.await {
            return error;
        }
        failed.is_over();
        time::sleep(INTERVAL).await;
    }
}
