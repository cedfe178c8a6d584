//! Rows for work that is no request, by where it was spawned.

use std::{panic::Location, ptr, sync::OnceLock};

use http::Method;

use crate::diagnostics::watch::{Handler, Ledger, TASK};

/// Finds the row of a place in the code without a hash of its name.
///
/// The rows themselves are the ledger's, and within its bound. A table that only grows: the same
/// place may stand in it more than once, since the compiler may have made copies of its location.
#[derive(Debug)]
pub(super) struct Origins {
    ledger: &'static Ledger,
    known: Box<[OnceLock<Origin>]>,
    /// The row of all that found no room.
    others: OnceLock<&'static Handler>,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    at: &'static Location<'static>,
    row: &'static Handler,
}

/// Places in the code, as a power of two; more than programs have.
const ROOM_LOG2: u32 = 9;

/// How far from its own place an origin may stand.
const PROBES: usize = 8;

impl Origins {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        let known = (0..1 << ROOM_LOG2).map(|_| OnceLock::new()).collect();
        Self { ledger, known, others: OnceLock::new() }
    }

    /// The row of what is spawned there.
    #[inline]
    pub(super) fn row(&self, at: &'static Location<'static>) -> &'static Handler {
        for place in self.near(at) {
            match place.get() {
                Some(origin) if ptr::eq(origin.at, at) => return origin.row,
                Some(_) => {}
                None => return self.learn(at),
            }
        }
        self.others()
    }

    #[cold]
    fn learn(&self, at: &'static Location<'static>) -> &'static Handler {
        let row = self.make(&route(at.file(), at.line()));
        let mut origins = self.near(at).map(|place| place.get_or_init(|| Origin { at, row }));
        let known = origins.find(|origin| ptr::eq(origin.at, at));
        known.map_or_else(|| self.others(), |origin| origin.row)
    }

    fn others(&self) -> &'static Handler {
        self.others.get_or_init(|| self.make("(other)"))
    }

    #[expect(clippy::expect_used, reason = "a constant that is a legal token")]
    fn make(&self, route: &str) -> &'static Handler {
        let method = Method::from_bytes(TASK.as_bytes()).expect("a legal token");
        self.ledger.handler(self.ledger.hint(), &method, Some(route))
    }

    #[inline]
    fn near(&self, at: &'static Location<'static>) -> impl Iterator<Item = &OnceLock<Origin>> {
        let address = ptr::from_ref(at).addr() as u64;
        let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - ROOM_LOG2);
        let start = hash as usize;
        (start..start + PROBES).map(|place| &self.known[place & (self.known.len() - 1)])
    }
}

/// `file:line`, where a dependency's file begins with its name and version.
fn route(file: &str, line: u32) -> String {
    let of_dependency =
        file.split_once("/registry/src/").and_then(|(_, file)| file.split_once('/'));
    format!("{}:{line}", of_dependency.map_or(file, |(_, file)| file))
}

#[cfg(test)]
mod tests {
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
        let origins = Origins::new(Ledger::leak(8));
        let (known, new) = (Location::caller(), Location::caller());
        let origin = Origin { at: known, row: origins.row(known) };
        origins.near(new).for_each(|place| {
            place.get_or_init(|| origin);
        });
        let row = origins.row(new);
        assert_eq!((row.method.as_str(), &*row.route), (TASK, "(other)"));
        assert!(ptr::eq(origins.row(new), row));
    }

    #[test]
    fn a_dependency_s_file_begins_with_its_name() {
        let file = "/root/.cargo/registry/src/index.crates.io-1949/axum-0.8.9/src/serve/mod.rs";
        assert_eq!(route(file, 389), "axum-0.8.9/src/serve/mod.rs:389");
        assert_eq!(route("src/main.rs", 1), "src/main.rs:1");
    }
}
