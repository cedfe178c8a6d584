//! The ledger's own connection.
//!
//! A batch is one text, taken apart in the database, so that one prepared statement writes any number
//! of rows. SQLite takes three times as long for that as for the values one by one, and it is this
//! machine's time: there, statements have a fixed number of rows, and the last one is filled up with
//! a row that is there already.

use std::sync::{Arc, LazyLock};

use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection,
    SqliteConnection,
    error::{BoxDynError, ErrorKind},
    sqlite::SqliteArguments,
};
use uuid::fmt::Hyphenated;

use super::{Batch, Row};
use crate::service::store::url::Target;

/// Rows of a statement of SQLite. Each takes two switches between threads, so that few large ones
/// are cheaper; past a few hundred rows nothing is won.
const SIZES: [usize; 4] = [256, 32, 4, 1];
/// Columns of a row.
const COLUMNS: usize = 15;

/// A connection, by who answers.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Rows that are to be written.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    Fresh(&'a Batch),
    /// A list of objects in JSON.
    Spooled(&'a str),
}

macro_rules! columns {
    () => {
        "id, at, key_id, model, endpoint, status, prompt_tokens, completion_tokens, cached, \
         streamed, duration_us, upstream, request_id, cached_prompt_tokens, estimated"
    };
}

const SQLITE: &str = concat!(
    "INSERT INTO ledger (",
    columns!(),
    ") SELECT value->>'id', value->>'at', value->>'key_id', value->>'model', value->>'endpoint', \
     value->>'status', value->>'prompt_tokens', value->>'completion_tokens', value->>'cached', \
     value->>'streamed', value->>'duration_us', value->>'upstream', value->>'request_id', \
     COALESCE(value->>'cached_prompt_tokens', 0), COALESCE(value->>'estimated', 0) \
     FROM json_each($1) WHERE true ON CONFLICT DO NOTHING"
);

/// The statements of each size.
static VALUES: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let row = format!("({})", ["?"; COLUMNS].join(", "));
        let rows = vec![row; rows].join(", ");
        let columns = columns!();
        format!("INSERT INTO ledger ({columns}) VALUES {rows} ON CONFLICT DO NOTHING").into()
    })
});

const POSTGRES: &str = concat!(
    "INSERT INTO ledger (",
    columns!(),
    // Rows of a spool may be older than the last columns.
    ") SELECT id, at, key_id, model, endpoint, status, prompt_tokens, completion_tokens, cached, \
     streamed, duration_us, upstream, request_id, COALESCE(cached_prompt_tokens, 0), \
     COALESCE(estimated, false) FROM json_to_recordset(CAST($1 AS json)) AS row (id uuid, at bigint, key_id text, \
     model text, endpoint text, status integer, prompt_tokens bigint, completion_tokens bigint, \
     cached boolean, streamed boolean, duration_us bigint, upstream text, request_id text, \
     cached_prompt_tokens bigint, estimated boolean) \
     ON CONFLICT DO NOTHING"
);

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self, sqlx::Error> {
        Ok(match target {
            Target::Sqlite(options) => Self::Sqlite(options.connect().await?),
            Target::Postgres(options) => Self::Postgres(options.connect().await?),
        })
    }

    /// Writes rows, all or none; those that are there already stay. How many were written.
    pub(super) async fn write(&mut self, rows: Rows<'_>) -> Result<u64, sqlx::Error> {
        match (self, rows) {
            (Self::Sqlite(connection), Rows::Fresh(batch)) => {
                write_values(connection, &batch.rows).await
            }
            (this, Rows::Fresh(batch)) => this.write_json(&batch.json()).await,
            (this, Rows::Spooled(json)) => this.write_json(json).await,
        }
    }

    async fn write_json(&mut self, json: &str) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                sqlx::query(SQLITE).bind(json).execute(connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                // Unnamed and in a transaction, as poolers want it: a batch is large, so the
                // messages that this adds cost little.
                let mut all = connection.begin().await?;
                let insert = sqlx::query(POSTGRES).persistent(false).bind(json);
                let written = insert.execute(&mut *all).await?.rows_affected();
                all.commit().await?;
                written
            }
        })
    }
}

async fn write_values(
    connection: &mut SqliteConnection,
    mut rows: &[Row],
) -> Result<u64, sqlx::Error> {
    let mut written = 0;
    let mut texts = Texts::default();
    let mut all = connection.begin().await?;
    while let Some(last) = rows.last() {
        // The largest of which at least half is filled.
        let fits = SIZES.iter().position(|size| *size <= 2 * rows.len()).unwrap_or(0);
        let (now, later) = rows.split_at(SIZES[fits].min(rows.len()));
        let filling = std::iter::repeat_n(last, SIZES[fits] - now.len());
        let mut values = SqliteArguments::default();
        values.reserve(SIZES[fits] * COLUMNS, 0);
        for row in now.iter().chain(filling) {
            texts.add(&mut values, row).map_err(sqlx::Error::Encode)?;
        }
        let insert = sqlx::query_with(AssertSqlSafe(Arc::clone(&VALUES[fits])), values);
        written += insert.execute(&mut *all).await?.rows_affected();
        rows = later;
    }
    all.commit().await?;
    Ok(written)
}

/// Texts of the row before: one after the other mostly says the same, and holds the same text then.
#[derive(Default)]
struct Texts {
    key_id: Option<Arc<str>>,
    model: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
}

impl Texts {
    /// Adds the columns of a row.
    fn add(&mut self, values: &mut SqliteArguments, row: &Row) -> Result<(), BoxDynError> {
        let key_id = row.key_id.as_ref().map(|key| shared(&mut self.key_id, &key.info.id));
        let id: Arc<str> = (&*row.id.encode_lower(&mut [0; Hyphenated::LENGTH])).into();
        let request_id: Arc<str> = row.request_id.as_str().into();
        values.add(id)?;
        values.add(row.at)?;
        values.add(key_id)?;
        values.add(shared(&mut self.model, &row.model))?;
        values.add(shared(&mut self.endpoint, row.endpoint))?;
        values.add(i64::from(row.status))?;
        values.add(row.usage.prompt_tokens.cast_signed())?;
        values.add(row.usage.completion_tokens.cast_signed())?;
        values.add(row.cached)?;
        values.add(row.streamed)?;
        values.add(row.duration_us.cast_signed())?;
        values.add(row.upstream.clone())?;
        values.add(request_id)?;
        values.add(row.usage.cached_prompt_tokens.cast_signed())?;
        values.add(row.usage.is_estimated)
    }
}

/// This text: the one before, where that is the same.
fn shared(before: &mut Option<Arc<str>>, text: &str) -> Arc<str> {
    match before {
        Some(before) if **before == *text => Arc::clone(before),
        other => Arc::clone(other.insert(text.into())),
    }
}

/// Whether the rows will be refused whenever they come: what they say is not allowed.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // Class 22 is data that cannot be what it should.
    let is_bad_data = |code: &str| code.len() == 5 && code.starts_with("22");
    error.kind() != ErrorKind::Other || error.code().as_deref().is_some_and(is_bad_data)
}
