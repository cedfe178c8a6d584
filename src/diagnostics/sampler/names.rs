//! From addresses to names: functions, inlined ones too, files and lines, by the debug information.
//!
//! What it takes to read a big program's debug information, tens of megabytes, is freed when a
//! [`Names`] is dropped, and given back to the system a while later.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use addr2line::Loader;

use super::{handler::now as monotonic, modules::Module, unwind::Stack};
use crate::diagnostics::{
    allocator,
    profile::{Frame, Location},
    watch::Slot,
};

/// Names addresses, each once.
pub(crate) struct Names<'a> {
    modules: &'a [Module],
    /// Debug information by the place of the module, once it was looked for.
    loaders: HashMap<usize, Option<Loader>>,
    known: HashMap<u64, Arc<Location>>,
}

/// What stands at the end of a stack whose rest is not known.
pub(crate) fn truncated() -> Arc<Location> {
    static TRUNCATED: LazyLock<Arc<Location>> =
        LazyLock::new(|| Arc::new(Location::named(Frame::named("[truncated]"))));
    Arc::clone(&TRUNCATED)
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a [Module]) -> Self {
        Self { modules, loaders: HashMap::new(), known: HashMap::new() }
    }

    /// The places of a stack, the leaf first.
    pub(crate) fn stack(&mut self, stack: &Stack) -> Vec<Arc<Location>> {
        let cut = stack.truncated.then(truncated);
        stack.addresses.iter().map(|address| self.location(*address)).chain(cut).collect()
    }

    pub(crate) fn location(&mut self, address: u64) -> Arc<Location> {
        let Self { modules, loaders, known, .. } = self;
        Arc::clone(match known.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Arc::new(locate(modules, loaders, address))),
        })
    }
}

impl Drop for Names<'_> {
    fn drop(&mut self) {
        used();
    }
}

/// When names were last looked up, in nanoseconds of the monotonic clock; 0 once the memory that
/// it took was given back.
static USED: AtomicU64 = AtomicU64::new(0);

/// Names were looked up, or something was made of them.
pub(crate) fn used() {
    USED.store(monotonic(), Relaxed);
}

/// When memory was last given back, as above.
static GIVEN_BACK: AtomicU64 = AtomicU64::new(0);

/// Gives memory that was freed back to the system, once nobody has looked up names for a while.
///
/// The C library keeps it for later: tens of megabytes. While it gives some back it holds the locks
/// of its memory, for 26 ms as measured, and whoever allocates waits. So this is done while no poll
/// is going on, and once in a minute. Other allocators do it by themselves, and the C library has
/// nothing then.
pub(crate) fn give_back() {
    let (now, used) = (monotonic(), USED.load(Relaxed));
    let is_time = is_time(now, used, GIVEN_BACK.load(Relaxed));
    if is_time
        && !allocator::is_jemalloc()
        && !Slot::used().any(Slot::is_polling)
        && USED.compare_exchange(used, 0, Relaxed, Relaxed).is_ok()
    {
        GIVEN_BACK.store(now, Relaxed);
        // SAFETY: no precondition.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Whether names were looked up, a while ago, and memory was not given back but a moment ago.
fn is_time(now: u64, used: u64, given_back: u64) -> bool {
    const WHILE_NS: u64 = 2_000_000_000;
    const REST_NS: u64 = 60_000_000_000;
    let is_rested = given_back == 0 || now.saturating_sub(given_back) > REST_NS;
    used != 0 && now.saturating_sub(used) > WHILE_NS && is_rested
}

fn locate(
    modules: &[Module],
    loaders: &mut HashMap<usize, Option<Loader>>,
    address: u64,
) -> Location {
    let Some(place) = modules.iter().position(|module| module.contains(address)) else {
        return Location { address, mapping: None, frames: Vec::new() };
    };
    let module = &modules[place];
    let loader = loaders
        .entry(place)
        .or_insert_with(|| module.path.as_ref().and_then(|path| Loader::new(path).ok()));
    let inside = address.wrapping_sub(module.base);
    let frames = loader.as_ref().map_or(Vec::new(), |loader| frames(loader, inside));
    Location { address, mapping: Some(Arc::clone(&module.mapping)), frames }
}

/// The functions at an address, the innermost of inlined ones first.
fn frames(loader: &Loader, address: u64) -> Vec<Arc<Frame>> {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(address) {
        // What cannot be read of it ends the list.
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let Some(linkage) = name else { continue };
            let place = frame.location;
            let file = place.as_ref().and_then(|place| place.file).unwrap_or_default().to_owned();
            let line = place.and_then(|place| place.line).unwrap_or(0);
            frames.push(named(&linkage, file, line));
        }
    }
    if frames.is_empty()
        && let Some(symbol) = loader.find_symbol(address)
    {
        frames.push(named(symbol, String::new(), 0));
    }
    frames.into_iter().map(Arc::new).collect()
}

fn named(linkage: &str, file: String, line: u32) -> Frame {
    // Without the hash.
    let name = format!("{:#}", rustc_demangle::demangle(linkage));
    Frame { name, linkage: linkage.to_owned(), file, line }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_given_back_a_while_after_its_use_and_once_a_minute() {
        const SECOND: u64 = 1_000_000_000;
        let is_time = |now, used, given_back| {
            super::is_time(now * SECOND, used * SECOND, given_back * SECOND)
        };
        assert!(is_time(103, 100, 0));
        assert!(!is_time(101, 100, 0), "it may be used again");
        assert!(!is_time(103, 0, 0), "nothing was looked up");
        assert!(!is_time(103, 100, 50), "it was given back a moment ago");
        assert!(is_time(111, 100, 50));
    }
}
