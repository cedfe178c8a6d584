//! Questions to a database, of either kind.

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::runtime::Builder;

/// Whether it answers.
pub(crate) fn answers(url: &str) -> bool {
    try_number(url, "SELECT CAST(1 AS BIGINT)").is_ok()
}

/// What a statement gives that gives one number.
pub(crate) fn number(url: &str, statement: &'static str) -> i64 {
    try_number(url, statement).expect("a number")
}

/// All of a column of texts.
pub(crate) fn texts(url: &str, statement: &'static str) -> Vec<String> {
    let texts = block_on(async {
        if url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(url).await?;
            sqlx::query_scalar(statement).fetch_all(&mut connection).await
        } else {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query_scalar(statement).fetch_all(&mut connection).await
        }
    });
    texts.expect("texts")
}

/// Keeps everybody from writing to a database of SQLite, until it is dropped.
pub(crate) struct Lock {
    runtime: tokio::runtime::Runtime,
    connection: Option<SqliteConnection>,
}

impl Lock {
    pub(crate) fn take(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connection = runtime.block_on(async {
            let mut connection = SqliteConnection::connect(url).await.expect("connected");
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("locked");
            connection
        });
        Self { runtime, connection: Some(connection) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Nothing was written in it.
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

fn try_number(url: &str, statement: &'static str) -> sqlx::Result<i64> {
    block_on(async {
        if url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(url).await?;
            sqlx::query_scalar(statement).fetch_one(&mut connection).await
        } else {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query_scalar(statement).fetch_one(&mut connection).await
        }
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
