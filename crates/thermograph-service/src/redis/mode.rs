//! Single servers and clusters.

use std::{sync::mpsc, thread, time::Duration};

use redis::{Client, Cmd, RedisError, RedisResult, aio::ConnectionManager, cmd};
use thiserror::Error;

use super::errors::{LATE, told};

/// Mode of a Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Single,
    Cluster,
}

/// Redis runs in cluster mode, in which keys that are used together may be on several nodes.
#[derive(Clone, Copy, Debug, Error)]
#[error(
    "redis.url: the server runs in cluster mode: expected a single primary, with or without replicas"
)]
pub struct ClusterRejected;

impl Mode {
    /// Asks in a thread, and waits no longer than may be. An error says why there is no answer.
    pub(super) fn ask_blocking(client: Client, timeout: Duration) -> Result<Self, String> {
        let (answer, answered) = mpsc::channel();
        // Resolving a name has no timeout: the thread may outlive the wait.
        let asking = thread::Builder::new().name("redis-mode".to_owned()).spawn(move || {
            // The receiver is gone after the timeout.
            let _ = answer.send(Self::ask_over_new(&client, timeout));
        });
        asking.map_err(|error| error.to_string())?;
        match answered.recv_timeout(timeout) {
            Ok(answer) => answer.map_err(|error| told(&error)),
            Err(_) => Err(LATE.to_owned()),
        }
    }

    /// Asks over a connection of its own.
    fn ask_over_new(client: &Client, timeout: Duration) -> RedisResult<Self> {
        let mut connection = client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        Self::of(info().query(&mut connection))
    }

    pub(super) async fn ask(mut connection: ConnectionManager) -> RedisResult<Self> {
        Self::of(info().query_async(&mut connection).await)
    }

    /// Mode by the answer to `INFO`.
    fn of(answer: RedisResult<String>) -> RedisResult<Self> {
        match answer {
            Ok(info) if info.lines().any(|line| line == "cluster_enabled:1") => Ok(Self::Cluster),
            Ok(_) => Ok(Self::Single),
            // The command is not for everyone, or has another name: no cluster can be told.
            Err(error) if is_forbidden(&error) => Ok(Self::Single),
            Err(error) => Err(error),
        }
    }
}

fn info() -> Cmd {
    let mut info = cmd("INFO");
    info.arg("cluster");
    info
}

fn is_forbidden(error: &RedisError) -> bool {
    error.code().is_some_and(|code| ["ERR", "NOPERM"].contains(&code))
}
