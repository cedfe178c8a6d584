//! Rows of tables: one list of columns for the struct, for the statements, and for what is bound to
//! them.

use std::fmt;

use sqlx::error::BoxDynError;

/// Declares the row of a table: a column is added by a field here, and by a migration.
///
/// The struct has `COLUMNS`, the list of all columns for a `SELECT`, and `insert`, which begins a
/// statement with rows and their values. It implements [`Values`], too.
macro_rules! table_row {
    (
        $(#[$on_struct:meta])*
        $visibility:vis struct $Row:ident of $table:literal {
            $($(#[$on_column:meta])* $column:ident: $Type:ty,)*
        }
    ) => {
        $(#[$on_struct])*
        $visibility struct $Row {
            $($(#[$on_column])* $visibility $column: $Type,)*
        }

        impl $Row {
            /// The columns, in the order of the values of [`Self::insert`].
            $visibility const COLUMNS: $crate::store::table::Columns =
                $crate::store::table::Columns(&[$(stringify!($column)),*]);

            /// `INSERT INTO` the table, with rows; at least one.
            $visibility fn insert<D>(rows: impl IntoIterator<Item = Self>) -> sqlx::QueryBuilder<D>
            where
                D: sqlx::Database,
                $($Type: sqlx::Encode<'static, D> + sqlx::Type<D>,)*
            {
                let beginning = format!(concat!("INSERT INTO ", $table, " ({}) "), Self::COLUMNS);
                let mut insert = sqlx::QueryBuilder::new(beginning);
                insert.push_values(rows, |mut values, row| {
                    $(values.push_bind(row.$column);)*
                });
                insert
            }
        }

        impl<D> $crate::store::table::Values<D> for $Row
        where
            D: sqlx::Database,
            $($Type: sqlx::Encode<'static, D> + sqlx::Type<D>,)*
        {
            fn add_to(self, values: &mut D::Arguments) -> Result<(), sqlx::error::BoxDynError> {
                $(sqlx::Arguments::add(values, self.$column)?;)*
                Ok(())
            }
        }
    };
}

pub(super) use table_row;

/// The values of a row alone, for a statement whose text is kept: to build the text of a large one
/// anew takes a fifth of the time of writing its rows to SQLite.
pub(super) trait Values<D: sqlx::Database> {
    /// Adds them, in the order of the columns.
    fn add_to(self, values: &mut D::Arguments) -> Result<(), BoxDynError>;
}

/// Names of columns; displayed with commas between them.
#[derive(Clone, Copy)]
pub(super) struct Columns(pub(super) &'static [&'static str]);

impl Columns {
    pub(super) fn count(self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Execute as _, Postgres, Sqlite};

    table_row! {
        struct Pair of "pairs" {
            left: i64,
            right: Option<String>,
        }
    }

    #[test]
    fn statements_have_the_columns_in_the_order_of_the_fields() {
        let rows = || [Pair { left: 1, right: None }, Pair { left: 2, right: Some("b".into()) }];
        let sqlite = "INSERT INTO pairs (left, right) VALUES (?, ?), (?, ?)";
        assert_eq!(Pair::insert::<Sqlite>(rows()).build().sql().as_str(), sqlite);
        let postgres = "INSERT INTO pairs (left, right) VALUES ($1, $2), ($3, $4)";
        assert_eq!(Pair::insert::<Postgres>(rows()).build().sql().as_str(), postgres);
        assert_eq!(Pair::COLUMNS.to_string(), "left, right");
        assert_eq!(Pair::COLUMNS.count(), 2);
    }
}
