//! What was used, by day of UTC and by model, out of the ledger.

use serde::Serialize;
use sqlx::FromRow;

use super::{Database, StoreError, database::on_connection};

/// What was used on a day of a model.
#[derive(Clone, Debug, FromRow, PartialEq, Serialize)]
pub(crate) struct Used {
    /// Days since 1970.
    #[serde(skip)]
    pub(crate) day: i64,
    pub(crate) model: String,
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub(crate) sums: Sums,
}

/// Sums of requests.
#[derive(Clone, Copy, Debug, Default, FromRow, PartialEq, Serialize)]
pub(crate) struct Sums {
    pub(crate) requests: i64,
    /// Those of a status of 400 or more.
    pub(crate) errors: i64,
    pub(crate) cached: i64,
    pub(crate) prompt_tokens: i64,
    /// Tokens of the prompt that upstreams had in their caches.
    pub(crate) cached_prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
    /// Requests whose tokens were estimated, since no upstream has reported them.
    pub(crate) estimated: i64,
}

/// Whose use, and when.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// The key; none: all.
    pub(crate) key: Option<String>,
    /// The first day, in days since 1970.
    pub(crate) start: i64,
    /// The last day.
    pub(crate) end: i64,
}

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

macro_rules! used {
    ($of_key:literal) => {
        concat!(
            "SELECT at / 86400000 AS day, model, COUNT(*) AS requests, \
             CAST(SUM(CASE WHEN status >= 400 THEN 1 ELSE 0 END) AS BIGINT) AS errors, \
             CAST(SUM(CASE WHEN cached THEN 1 ELSE 0 END) AS BIGINT) AS cached, \
             CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens, \
             CAST(SUM(cached_prompt_tokens) AS BIGINT) AS cached_prompt_tokens, \
             CAST(SUM(completion_tokens) AS BIGINT) AS completion_tokens, \
             CAST(SUM(CASE WHEN estimated THEN 1 ELSE 0 END) AS BIGINT) AS estimated \
             FROM ledger WHERE at >= $1 AND at < $2",
            $of_key,
            " GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $3"
        )
    };
}

const OF_KEY: &str = used!(" AND key_id = $4");
const OF_ALL: &str = used!("");
const TOKENS: &str = "SELECT CAST(COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS BIGINT) \
                      FROM ledger WHERE key_id = $1 AND at >= $2 AND NOT cached";

/// What was used, at most so many lines of it.
pub(super) async fn of(
    database: &Database,
    span: &Span,
    most: usize,
) -> Result<Vec<Used>, StoreError> {
    let (start, end) = (span.start * DAY, (span.end + 1) * DAY);
    Ok(on_connection!(database, connection => {
        let query = sqlx::query_as(if span.key.is_some() { OF_KEY } else { OF_ALL });
        let query = query.persistent(database.names_statements());
        let query = query.bind(start).bind(end).bind(i64::try_from(most).unwrap_or(i64::MAX));
        let query = match &span.key {
            Some(key) => query.bind(key.clone()),
            None => query,
        };
        query.fetch_all(&mut *connection).await?
    }))
}

/// The tokens of a key since then, in milliseconds since 1970; what was kept has cost none.
pub(super) async fn tokens_since(
    database: &Database,
    key: &str,
    since: i64,
) -> Result<u64, StoreError> {
    let tokens: i64 = on_connection!(database, connection => {
        let query = sqlx::query_scalar(TOKENS).persistent(database.names_statements());
        query.bind(key).bind(since).fetch_one(&mut *connection).await?
    });
    Ok(u64::try_from(tokens).unwrap_or_default())
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.cached += other.cached;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_prompt_tokens += other.cached_prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.estimated += other.estimated;
    }
}
