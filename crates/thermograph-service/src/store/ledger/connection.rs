//! The ledger's own connection.
//!
//! SQLite runs on this machine, and takes a third of the time for values one by one that it takes to
//! parse JSON: there, statements have a fixed number of rows, so that they are prepared once, and the
//! last one is filled up with a row that is there already. Postgres has a batch as one text, which it
//! parses itself: one statement writes any number of rows, with one value.

use std::{
    iter,
    sync::{LazyLock, OnceLock},
};

use sqlx::{
    Arguments as _, ConnectOptions as _, Connection as _, PgConnection, SqlStr, Sqlite,
    SqliteConnection, error::ErrorKind, sqlite::SqliteArguments,
};

use super::{Entry, batch::json};
use crate::store::{table::Values, url::Target};

/// Rows of a statement of SQLite. Each takes two switches between threads, so that few large ones
/// are cheaper; past a few hundred rows nothing is won. The most values of a statement are 32766.
const SIZES: [usize; 4] = [256, 32, 4, 1];

/// A connection, by who answers.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The table's own type says what each column is.
static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let columns = Entry::COLUMNS;
    format!(
        "INSERT INTO ledger ({columns}) SELECT {columns} \
         FROM json_populate_recordset(CAST(NULL AS ledger), CAST($1 AS json)) \
         ON CONFLICT DO NOTHING"
    )
});

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self, sqlx::Error> {
        Ok(match target {
            Target::Sqlite(options) => Self::Sqlite(options.connect().await?),
            Target::Postgres(options) => Self::Postgres(options.connect().await?),
        })
    }

    /// Writes rows, all or none; those that are there already stay. How many were written.
    pub(super) async fn write(&mut self, entries: &[Entry]) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => write_values(connection, entries).await,
            Self::Postgres(connection) => write_json(connection, entries).await,
        }
    }
}

async fn write_json(connection: &mut PgConnection, entries: &[Entry]) -> Result<u64, sqlx::Error> {
    // Unnamed and in a transaction, as poolers want it: a batch is large, so the messages that this
    // adds cost little.
    let mut all = connection.begin().await?;
    let insert = sqlx::query(POSTGRES.as_str()).persistent(false).bind(json(entries));
    let written = insert.execute(&mut *all).await?.rows_affected();
    all.commit().await?;
    Ok(written)
}

async fn write_values(
    connection: &mut SqliteConnection,
    mut entries: &[Entry],
) -> Result<u64, sqlx::Error> {
    let mut written = 0;
    let mut all = connection.begin().await?;
    while let Some(last) = entries.last() {
        // The largest of which at least half is filled.
        let fits = SIZES.iter().position(|size| *size <= 2 * entries.len()).unwrap_or(0);
        let (now, later) = entries.split_at(SIZES[fits].min(entries.len()));
        let filling = iter::repeat_n(last, SIZES[fits] - now.len());
        let mut values = SqliteArguments::default();
        values.reserve(SIZES[fits] * Entry::COLUMNS.count(), 0);
        for entry in now.iter().chain(filling) {
            Values::<Sqlite>::add_to(entry.clone(), &mut values).map_err(sqlx::Error::Encode)?;
        }
        let insert = sqlx::query_with(insert_into_sqlite(fits, last), values);
        written += insert.execute(&mut *all).await?.rows_affected();
        entries = later;
    }
    all.commit().await?;
    Ok(written)
}

/// The statement of a size, made of any entry when it is first asked for.
fn insert_into_sqlite(size: usize, any: &Entry) -> SqlStr {
    static INSERTS: [OnceLock<SqlStr>; SIZES.len()] = [const { OnceLock::new() }; SIZES.len()];
    let insert = INSERTS[size].get_or_init(|| {
        let mut insert = Entry::insert::<Sqlite>(iter::repeat_n(any.clone(), SIZES[size]));
        insert.push(" ON CONFLICT DO NOTHING").sql()
    });
    insert.clone()
}

/// Whether the rows will be refused whenever they come: what they say is not allowed.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // Class 22 is data that cannot be what it should.
    let is_bad_data = |code: &str| code.len() == 5 && code.starts_with("22");
    error.kind() != ErrorKind::Other || error.code().as_deref().is_some_and(is_bad_data)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Url;

    fn entries(ids: impl Iterator<Item = i64>) -> Vec<Entry> {
        let entry = |id: i64| {
            serde_json::json!({
                "id": format!("{id:08}-0000-7000-8000-000000000000"), "at": id, "key_id": null,
                "model": "m", "endpoint": "/v1/embeddings", "status": 200, "prompt_tokens": id,
                "completion_tokens": 0, "cached": id % 2 == 0, "streamed": false,
                "duration_us": 1, "upstream": "a", "request_id": "r", "estimated": true,
            })
        };
        let entries = ids.map(|id| serde_json::from_value(entry(id)).expect("an entry"));
        entries.collect()
    }

    #[tokio::test]
    async fn batches_of_any_size_are_written_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = Url::from(format!("sqlite:{}/a.db", folder.path().display()));
        let target = url.target().expect("a database");
        target.migrate(Duration::from_secs(10)).await.expect("tables");
        let mut connection = Connection::open(&target).await.expect("a connection");
        let mut all = 0;
        for size in [1, 2, 3, 5, 31, 33, 127, 129, 256, 257, 1000] {
            let batch = entries(all..all + size);
            let written = connection.write(&batch).await.expect("written");
            assert_eq!(i64::try_from(written), Ok(size));
            assert_eq!(connection.write(&batch).await.expect("written"), 0, "{size}, again");
            all += size;
        }
        let Connection::Sqlite(mut connection) = connection else { panic!("SQLite") };
        let sums = "SELECT COUNT(*), SUM(prompt_tokens), SUM(cached), SUM(estimated), \
                    SUM(at = prompt_tokens) FROM ledger";
        let sums: (i64, i64, i64, i64, i64) =
            sqlx::query_as(sums).fetch_one(&mut connection).await.expect("sums");
        assert_eq!(sums, (all, all * (all - 1) / 2, (all + 1) / 2, all, all));
    }
}
