//! The ledger's own connection: a batch is one text, taken apart in the database, so that one
//! prepared statement writes any number of rows.

use sqlx::{ConnectOptions as _, PgConnection, SqliteConnection, error::ErrorKind};

use crate::service::store::url::Target;

/// A connection, by who answers.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

macro_rules! columns {
    () => {
        "id, at, key_id, model, endpoint, status, prompt_tokens, completion_tokens, cached, \
         streamed, duration_us, upstream, request_id"
    };
}

const SQLITE: &str = concat!(
    "INSERT INTO ledger (",
    columns!(),
    ") SELECT value->>'id', value->>'at', value->>'key_id', value->>'model', value->>'endpoint', \
     value->>'status', value->>'prompt_tokens', value->>'completion_tokens', value->>'cached', \
     value->>'streamed', value->>'duration_us', value->>'upstream', value->>'request_id' \
     FROM json_each($1) WHERE true ON CONFLICT DO NOTHING"
);

const POSTGRES: &str = concat!(
    "INSERT INTO ledger (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM json_to_recordset(CAST($1 AS json)) AS row (id uuid, at bigint, key_id text, \
     model text, endpoint text, status integer, prompt_tokens bigint, completion_tokens bigint, \
     cached boolean, streamed boolean, duration_us bigint, upstream text, request_id text) \
     ON CONFLICT DO NOTHING"
);

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self, sqlx::Error> {
        Ok(match target {
            Target::Sqlite(options) => Self::Sqlite(options.connect().await?),
            Target::Postgres(options) => Self::Postgres(options.connect().await?),
        })
    }

    /// Writes rows, a list of objects in JSON, all or none; those that are there already stay. How
    /// many were written.
    pub(super) async fn write(&mut self, json: &str) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                sqlx::query(SQLITE).bind(json).execute(connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                sqlx::query(POSTGRES).bind(json).execute(connection).await?.rows_affected()
            }
        })
    }
}

/// Whether the rows will be refused whenever they come: what they say is not allowed.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // Class 22 is data that cannot be what it should.
    let is_bad_data = |code: &str| code.len() == 5 && code.starts_with("22");
    error.kind() != ErrorKind::Other || error.code().as_deref().is_some_and(is_bad_data)
}
