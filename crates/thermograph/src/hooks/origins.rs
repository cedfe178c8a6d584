//! Rows for work that is no request, by where it was spawned.

use std::{panic::Location, sync::OnceLock};

use http::Method;

use crate::{
    handlers::{Handler, Ledger, TASK},
    task_table::{
        places,
        places::{PLACES, short},
    },
};

/// Finds the row of a place in the code without a hash of its name.
///
/// The rows themselves are the ledger's, and within its bound.
#[derive(Debug)]
pub(super) struct Origins {
    ledger: &'static Ledger,
    /// By the number of the place.
    rows: Box<[OnceLock<&'static Handler>]>,
    /// The row of all that found no room.
    others: OnceLock<&'static Handler>,
}

impl Origins {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        let rows = (0..places::ROOM).map(|_| OnceLock::new()).collect();
        Self { ledger, rows, others: OnceLock::new() }
    }

    /// The row of what is spawned there.
    #[inline]
    pub(super) fn row(&self, at: &'static Location<'static>) -> &'static Handler {
        let row = PLACES.number(at).and_then(|number| self.rows.get(number));
        match row {
            Some(row) => {
                row.get_or_init(|| self.make(&format!("{}:{}", short(at.file()), at.line())))
            }
            None => self.others.get_or_init(|| self.make("(other)")),
        }
    }

    #[expect(clippy::expect_used, reason = "a constant that is a legal token")]
    fn make(&self, route: &str) -> &'static Handler {
        let method = Method::from_bytes(TASK.as_bytes()).expect("a legal token");
        self.ledger.handler(self.ledger.hint(), &method, Some(route))
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_place_has_one_row_of_the_ledger() {
        let ledger = Ledger::leak(8);
        let origins = Origins::new(ledger);
        let (here, beside) = (Location::caller(), Location::caller());
        let row = origins.row(here);
        assert_eq!(*row.route, format!("{}:{}", file!(), here.line()));
        assert!(row.is_task());
        assert!(ptr::eq(origins.row(here), row));
        // Another location, and the same line.
        assert!(!ptr::eq(here, beside) && ptr::eq(origins.row(beside), row));
        assert!(!ptr::eq(origins.row(Location::caller()), row));
        // They are no requests.
        assert!(ledger.report().handlers.is_empty());
    }

    #[test]
    fn what_finds_no_room_shares_a_row() {
        let mut origins = Origins::new(Ledger::leak(8));
        origins.rows = Box::default();
        let row = origins.row(Location::caller());
        assert_eq!((row.method.as_str(), &*row.route), (TASK, "(other)"));
        assert!(ptr::eq(origins.row(Location::caller()), row));
    }
}
