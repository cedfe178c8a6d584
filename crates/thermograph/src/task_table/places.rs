//! The places in the code where tasks are spawned, each with a number.
//!
//! A number fits in a task's line, where a location would be a pointer that nobody may follow.

use std::{panic::Location, ptr, sync::OnceLock};

/// Numbers of places: a table that only grows, so that one place is found without a hash of its
/// name. The same place may stand in it more than once: the compiler may have made copies of it.
#[derive(Debug)]
pub(crate) struct Places([OnceLock<&'static Location<'static>>; ROOM]);

/// Those of the process.
pub(crate) static PLACES: Places = Places::new();

/// Places in the code, as a power of two; more than programs have.
const ROOM_LOG2: u32 = 10;
pub(crate) const ROOM: usize = 1 << ROOM_LOG2;
/// How far from where it belongs a place may stand.
const PROBES: usize = 8;

impl Places {
    const fn new() -> Self {
        Self([const { OnceLock::new() }; ROOM])
    }

    /// The number of a place, below [`ROOM`]; none where there are too many.
    #[inline]
    pub(crate) fn number(&self, at: &'static Location<'static>) -> Option<usize> {
        let address = ptr::from_ref(at).addr() as u64;
        let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - ROOM_LOG2);
        let near = (0..PROBES).map(|step| (hash as usize + step) & (ROOM - 1));
        let mut own = near.filter(|number| ptr::eq(*self.0[*number].get_or_init(|| at), at));
        own.next()
    }

    /// The place of a number.
    pub(crate) fn at(&self, number: usize) -> Option<&'static Location<'static>> {
        self.0.get(number)?.get().copied()
    }
}

/// A place's file, where a dependency's begins with its name and version.
pub(crate) fn short(file: &str) -> &str {
    let of_dependency =
        file.split_once("/registry/src/").and_then(|(_, file)| file.split_once('/'));
    of_dependency.map_or(file, |(_, file)| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_number() {
        let places = Box::new(Places::new());
        let (here, there) = (Location::caller(), Location::caller());
        let number = places.number(here).expect("room");
        assert_eq!(places.number(here), Some(number));
        assert_ne!(places.number(there), Some(number));
        assert!(ptr::eq(places.at(number).expect("known"), here));
        assert!(places.at(ROOM).is_none());
    }

    #[test]
    fn what_finds_no_room_has_no_number() {
        let places = Box::new(Places::new());
        let (known, new) = (Location::caller(), Location::caller());
        places.0.iter().for_each(|place| {
            place.get_or_init(|| known);
        });
        assert!(places.number(new).is_none() && places.number(known).is_some());
    }

    #[test]
    fn a_dependency_s_file_begins_with_its_name() {
        let file = "/home/me/.cargo/registry/src/x/axum-0.8.9/src/serve/mod.rs";
        assert_eq!(short(file), "axum-0.8.9/src/serve/mod.rs");
        assert_eq!(short("src/main.rs"), "src/main.rs");
    }
}
