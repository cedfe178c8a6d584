//! Keys as rows of the database, in words that both databases understand.

use jiff::Timestamp;
use sqlx::Connection as _;

use super::{Hash, KeyInfo, Scope};
use crate::service::store::{Database, StoreError, database::on_connection};

/// A row, by the columns of `columns!`.
type Row = (
    String,
    String,
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

macro_rules! columns {
    () => {
        "id, prefix, name, scopes, models, requests_per_minute, tokens_per_minute, \
         monthly_tokens, created_at, expires_at, revoked_at, rotated_from"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO api_keys (",
    columns!(),
    ", hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
);
const ALL: &str = concat!("SELECT ", columns!(), " FROM api_keys ORDER BY created_at, id");
const ONE: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1");
const FIND: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE hash = $1");
const REVOKE: &str = concat!(
    "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1 RETURNING ",
    columns!()
);
/// The sooner of both ends.
const END: &str = "UPDATE api_keys SET expires_at = CASE WHEN expires_at < $2 THEN expires_at \
                   ELSE $2 END WHERE id = $1 AND revoked_at IS NULL";

/// A new row, with what is bound to it in the order of `columns!`.
macro_rules! insert {
    ($database:expr, $key:expr, $hash:expr) => {
        sqlx::query(INSERT)
            .persistent($database.names_statements())
            .bind(&$key.id)
            .bind(&$key.prefix)
            .bind(&$key.name)
            .bind(names(&$key.scopes))
            .bind($key.models.as_ref().map(|models| list(models)))
            .bind($key.requests_per_minute.map(u64::cast_signed))
            .bind($key.tokens_per_minute.map(u64::cast_signed))
            .bind($key.monthly_tokens.map(u64::cast_signed))
            .bind($key.created_at.as_millisecond())
            .bind($key.expires_at.map(Timestamp::as_millisecond))
            .bind($key.revoked_at.map(Timestamp::as_millisecond))
            .bind($key.rotated_from.as_deref())
            .bind($hash.hex())
    };
}

pub(super) async fn insert(
    database: &Database,
    key: &KeyInfo,
    hash: Hash,
) -> Result<(), StoreError> {
    on_connection!(database, connection => {
        insert!(database, key, hash).execute(&mut *connection).await?;
    });
    Ok(())
}

pub(super) async fn all(database: &Database) -> Result<Vec<KeyInfo>, StoreError> {
    let rows: Vec<Row> = on_connection!(database, connection => {
        let query = sqlx::query_as(ALL).persistent(database.names_statements());
        query.fetch_all(&mut *connection).await?
    });
    rows.into_iter().map(info).collect()
}

pub(super) async fn one(database: &Database, id: &str) -> Result<KeyInfo, StoreError> {
    let row: Option<Row> = on_connection!(database, connection => {
        let query = sqlx::query_as(ONE).persistent(database.names_statements());
        query.bind(id).fetch_optional(&mut *connection).await?
    });
    row.map_or_else(|| Err(StoreError::NoKey(id.to_owned())), info)
}

/// The key of this hash, if there is one; also one that is not good any more.
pub(in crate::service::store) async fn find(
    database: &Database,
    hash: Hash,
) -> Result<Option<KeyInfo>, StoreError> {
    let row: Option<Row> = on_connection!(database, connection => {
        let query = sqlx::query_as(FIND).persistent(database.names_statements());
        query.bind(hash.hex()).fetch_optional(&mut *connection).await?
    });
    row.map(info).transpose()
}

pub(super) async fn revoke(
    database: &Database,
    id: &str,
    now: Timestamp,
) -> Result<KeyInfo, StoreError> {
    let now = now.as_millisecond();
    let row: Option<Row> = on_connection!(database, connection => {
        let query = sqlx::query_as(REVOKE).persistent(database.names_statements());
        query.bind(id).bind(now).fetch_optional(&mut *connection).await?
    });
    row.map_or_else(|| Err(StoreError::NoKey(id.to_owned())), info)
}

/// Puts a key in the place of another, which ends at `until` if not sooner: both, or nothing.
pub(super) async fn replace(
    database: &Database,
    old: &str,
    until: Timestamp,
    key: &KeyInfo,
    hash: Hash,
) -> Result<(), StoreError> {
    on_connection!(database, connection => {
        let mut both = connection.begin().await?;
        let ended = sqlx::query(END).persistent(database.names_statements());
        let ended = ended.bind(old).bind(until.as_millisecond());
        if ended.execute(&mut *both).await?.rows_affected() == 0 {
            return Err(StoreError::Ended(old.to_owned()));
        }
        insert!(database, key, hash).execute(&mut *both).await?;
        both.commit().await?;
    });
    Ok(())
}

fn info(row: Row) -> Result<KeyInfo, StoreError> {
    let (
        id,
        prefix,
        name,
        scopes,
        models,
        requests,
        tokens,
        monthly,
        created,
        expires,
        revoked,
        from,
    ) = row;
    let bad = |what: &str| StoreError::Refused(format!("{what} of the key `{id}` cannot be read"));
    let time = |millis: i64| Timestamp::from_millisecond(millis).map_err(|_| bad("a time"));
    // What a later version knows, this one does not allow.
    let scopes = scopes.split(',').filter_map(Scope::named).collect();
    let models = models.map(|models| serde_json::from_str(&models)).transpose();
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    Ok(KeyInfo {
        models: models.map_err(|_| bad("the list of models"))?,
        created_at: time(created)?,
        expires_at: expires.map(time).transpose()?,
        revoked_at: revoked.map(time).transpose()?,
        requests_per_minute: number(requests),
        tokens_per_minute: number(tokens),
        monthly_tokens: number(monthly),
        rotated_from: from,
        id,
        prefix,
        name,
        scopes,
    })
}

fn names(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(",")
}

fn list(models: &[String]) -> String {
    serde_json::Value::from(models).to_string()
}
