//! Keys as rows of the database, in words that both databases understand.

use jiff::Timestamp;
use sqlx::{Connection as _, FromRow, QueryBuilder};

use super::{Hash, KeyInfo, Scope};
use crate::store::{Database, StoreError, database::on_connection, table::table_row};

table_row! {
    /// A key as a row.
    #[derive(FromRow)]
    struct Row of "api_keys" {
        id: String,
        prefix: String,
        name: String,
        scopes: String,
        models: Option<String>,
        requests_per_minute: Option<i64>,
        tokens_per_minute: Option<i64>,
        monthly_tokens: Option<i64>,
        created_at: i64,
        expires_at: Option<i64>,
        revoked_at: Option<i64>,
        rotated_from: Option<String>,
        hash: String,
    }
}

/// The sooner of both ends.
const END: &str = "UPDATE api_keys SET expires_at = CASE WHEN expires_at < $2 THEN expires_at \
                   ELSE $2 END WHERE id = $1 AND revoked_at IS NULL";

/// The beginning of a statement that reads keys.
fn select<D: sqlx::Database>() -> QueryBuilder<D> {
    QueryBuilder::new(format!("SELECT {} FROM api_keys", Row::COLUMNS))
}

pub(super) async fn insert(
    database: &Database,
    key: &KeyInfo,
    hash: Hash,
) -> Result<(), StoreError> {
    on_connection!(database, connection => {
        let mut insert = Row::insert([Row::new(key, hash)]);
        let insert = insert.build().persistent(database.names_statements());
        insert.execute(&mut *connection).await?;
    });
    Ok(())
}

pub(super) async fn all(database: &Database) -> Result<Vec<KeyInfo>, StoreError> {
    let rows: Vec<Row> = on_connection!(database, connection => {
        let mut query = select();
        query.push(" ORDER BY created_at, id");
        let query = query.build_query_as().persistent(database.names_statements());
        query.fetch_all(&mut *connection).await?
    });
    rows.into_iter().map(KeyInfo::try_from).collect()
}

pub(super) async fn one(database: &Database, id: &str) -> Result<KeyInfo, StoreError> {
    let row: Option<Row> = on_connection!(database, connection => {
        let mut query = select();
        query.push(" WHERE id = ").push_bind(id);
        let query = query.build_query_as().persistent(database.names_statements());
        query.fetch_optional(&mut *connection).await?
    });
    row.ok_or_else(|| StoreError::NoKey(id.to_owned()))?.try_into()
}

/// The key of this hash, if there is one; also one that is not good any more.
pub(in crate::store) async fn find(
    database: &Database,
    hash: Hash,
) -> Result<Option<KeyInfo>, StoreError> {
    let row: Option<Row> = on_connection!(database, connection => {
        let mut query = select();
        query.push(" WHERE hash = ").push_bind(hash.hex());
        let query = query.build_query_as().persistent(database.names_statements());
        query.fetch_optional(&mut *connection).await?
    });
    row.map(KeyInfo::try_from).transpose()
}

pub(super) async fn revoke(
    database: &Database,
    id: &str,
    now: Timestamp,
) -> Result<KeyInfo, StoreError> {
    let row: Option<Row> = on_connection!(database, connection => {
        let mut query = QueryBuilder::new("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ");
        query.push_bind(now.as_millisecond()).push(") WHERE id = ").push_bind(id);
        query.push(format_args!(" RETURNING {}", Row::COLUMNS));
        let query = query.build_query_as().persistent(database.names_statements());
        query.fetch_optional(&mut *connection).await?
    });
    row.ok_or_else(|| StoreError::NoKey(id.to_owned()))?.try_into()
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
        let mut insert = Row::insert([Row::new(key, hash)]);
        let insert = insert.build().persistent(database.names_statements());
        insert.execute(&mut *both).await?;
        both.commit().await?;
    });
    Ok(())
}

impl Row {
    fn new(key: &KeyInfo, hash: Hash) -> Self {
        let scopes = key.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>();
        let list = |models: &Vec<String>| serde_json::Value::from(&**models).to_string();
        Self {
            id: key.id.clone(),
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            scopes: scopes.join(","),
            models: key.models.as_ref().map(list),
            requests_per_minute: key.requests_per_minute.map(u64::cast_signed),
            tokens_per_minute: key.tokens_per_minute.map(u64::cast_signed),
            monthly_tokens: key.monthly_tokens.map(u64::cast_signed),
            created_at: key.created_at.as_millisecond(),
            expires_at: key.expires_at.map(Timestamp::as_millisecond),
            revoked_at: key.revoked_at.map(Timestamp::as_millisecond),
            rotated_from: key.rotated_from.clone(),
            hash: hash.hex(),
        }
    }
}

impl TryFrom<Row> for KeyInfo {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |what: &str| {
            StoreError::Refused(format!("{what} of the key `{}` cannot be read", row.id))
        };
        let time = |millis: i64| Timestamp::from_millisecond(millis).map_err(|_| bad("a time"));
        let models = row.models.as_deref().map(serde_json::from_str).transpose();
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Ok(Self {
            // A scope that only a later version knows is not granted by this one.
            scopes: row.scopes.split(',').filter_map(Scope::named).collect(),
            models: models.map_err(|_| bad("the list of models"))?,
            requests_per_minute: number(row.requests_per_minute),
            tokens_per_minute: number(row.tokens_per_minute),
            monthly_tokens: number(row.monthly_tokens),
            created_at: time(row.created_at)?,
            expires_at: row.expires_at.map(time).transpose()?,
            revoked_at: row.revoked_at.map(time).transpose()?,
            rotated_from: row.rotated_from,
            id: row.id,
            prefix: row.prefix,
            name: row.name,
        })
    }
}
