//! From addresses to names: functions, inlined ones too, files and lines, by the debug information.
//!
//! The memory for a big program's debug information, tens of megabytes, is freed when a
//! [`Names`] is dropped, and given back to the system a while later.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use addr2line::Loader;
use thermograph_profile::{Frame, Location, plumbing};

use super::{
    debug_files::{DebugFiles, DebugInfo},
    handler::now as monotonic,
    modules::Module,
    stack::Stack,
};
use crate::slot::Slot;

/// Names addresses, each once.
pub struct Names<'a> {
    modules: &'a [Module],
    /// Debug information by the place of the module, once it was looked for.
    debug_files: HashMap<usize, DebugFiles>,
    known: HashMap<u64, Arc<Location>>,
}

/// The location `[truncated]`, which stands at the end of a stack whose rest is not known.
pub fn truncated() -> Arc<Location> {
    static TRUNCATED: LazyLock<Arc<Location>> =
        LazyLock::new(|| Arc::new(Location::named(Frame::named("[truncated]"))));
    Arc::clone(&TRUNCATED)
}

impl<'a> Names<'a> {
    /// Knows no names yet: debug information is read when an address needs it.
    pub fn new(modules: &'a [Module]) -> Self {
        Self { modules, debug_files: HashMap::new(), known: HashMap::new() }
    }

    /// The places of a stack, the leaf first.
    pub fn stack(&mut self, stack: &Stack) -> Vec<Arc<Location>> {
        let cut = stack.truncated.then(truncated);
        stack.addresses.iter().map(|address| self.location(*address)).chain(cut).collect()
    }

    /// The functions of an address, inlined ones too, with file and line as far as they are known.
    pub fn location(&mut self, address: u64) -> Arc<Location> {
        let Self { modules, debug_files, known, .. } = self;
        Arc::clone(match known.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Arc::new(locate(modules, debug_files, address))),
        })
    }
}

impl Names<'_> {
    /// The source of the debug information of an address; `None` where no file is mapped there.
    pub fn debug_info(&mut self, address: u64) -> Option<DebugInfo> {
        let place = self.modules.iter().position(|module| module.contains(address))?;
        let module = &self.modules[place];
        let files = self.debug_files.entry(place).or_insert_with(|| DebugFiles::of(module));
        Some(files.found())
    }

    /// Returns whether the debug information of an address has files and lines, and names without paths.
    pub fn has_lines_only(&mut self, address: u64) -> bool {
        let Some(place) = self.modules.iter().position(|module| module.contains(address)) else {
            return false;
        };
        let module = &self.modules[place];
        let files = self.debug_files.entry(place).or_insert_with(|| DebugFiles::of(module));
        let inside = address.wrapping_sub(module.base);
        files.loaders().iter().any(|loader| has_lines_only(loader, inside))
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

/// Puts off [`give_back`]: names were looked up, or something was made of them.
pub fn used() {
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
pub fn give_back() {
    let (now, used) = (monotonic(), USED.load(Relaxed));
    let is_time = is_time(now, used, GIVEN_BACK.load(Relaxed));
    if is_time
        && !is_jemalloc()
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

/// Whether another allocator is known to be there.
fn is_jemalloc() -> bool {
    #[cfg(heap)]
    return crate::heap::is_jemalloc();
    #[cfg(not(heap))]
    false
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
    debug_files: &mut HashMap<usize, DebugFiles>,
    address: u64,
) -> Location {
    let Some(place) = modules.iter().position(|module| module.contains(address)) else {
        return Location { address, mapping: None, frames: Vec::new() };
    };
    let module = &modules[place];
    let files = debug_files.entry(place).or_insert_with(|| DebugFiles::of(module));
    let inside = address.wrapping_sub(module.base);
    let frames = waiting(frames(files, inside), || frames(files, inside.wrapping_sub(1)));
    Location { address, mapping: Some(Arc::clone(&module.mapping)), frames }
}

/// The functions at the instruction before, where that waits for memory: of a loop that spins.
///
/// An interrupt comes behind the instruction that the processor waited for, which says nothing of
/// the loop. Inside of a call, which is where all frames but the leaf stand, both are the same.
fn waiting(frames: Vec<Arc<Frame>>, before: impl FnOnce() -> Vec<Arc<Frame>>) -> Vec<Arc<Frame>> {
    let path = |frame: &Arc<Frame>| frame.name.trim_start_matches('<').to_owned();
    let waits = |frames: &[Arc<Frame>]| {
        let mut core = frames.iter().map(path).take_while(|path| path.starts_with("core::"));
        core.any(|path| {
            path.starts_with("core::sync::atomic::") || path.starts_with("core::hint::spin_loop")
        })
    };
    if frames.is_empty() || waits(&frames) {
        return frames;
    }
    let before = before();
    if waits(&before) { before } else { frames }
}

/// The functions at an address, the innermost of inlined ones first.
pub(super) fn frames(files: &DebugFiles, address: u64) -> Vec<Arc<Frame>> {
    let symbol = files.loaders().iter().find_map(|loader| loader.find_symbol(address));
    let found = files.loaders().iter().map(|loader| described(loader, address, symbol));
    let mut frames = found.into_iter().find(|frames| !frames.is_empty()).unwrap_or_default();
    if frames.is_empty() {
        frames.extend(symbol.map(|symbol| named(symbol, String::new(), 0)));
    }
    frames.into_iter().map(Arc::new).collect()
}

/// The functions at an address that the debug information describes. The linker knows the outermost
/// one as `symbol`.
fn described(loader: &Loader, address: u64, symbol: Option<&str>) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let Ok(mut found) = loader.find_frames(address) else { return frames };
    // What cannot be read of it ends the list.
    while let Ok(Some(frame)) = found.next() {
        let place = frame.location;
        let file = place.as_ref().and_then(|place| place.file).unwrap_or_default().to_owned();
        let line = place.and_then(|place| place.line).unwrap_or(0);
        match frame.function.as_ref().and_then(|function| function.raw_name().ok()) {
            Some(name) => frames.push(named(&name, file, line)),
            // Of split DWARF that is not there, the lines are in the program.
            None if frames.is_empty() => {
                frames.extend(symbol.map(|symbol| named(symbol, file, line)));
            }
            None => {}
        }
    }
    // With lines only, names have no path: the linker knows that of the outermost, and the files of
    // dependencies tell those of functions that are inlined.
    let linked = symbol.map(|symbol| named(symbol, String::new(), 0));
    if let (Some(outermost), Some(linked)) = (frames.last_mut(), linked)
        && !plumbing::has_path(&outermost.name)
        && plumbing::has_path(&linked.name)
    {
        (outermost.name, outermost.linkage) = (linked.name, linked.linkage);
    }
    for frame in &mut frames {
        if !plumbing::has_path(&frame.name)
            && let Some(path) = plumbing::path_of(&frame.file)
        {
            // Without generic arguments, as the linker's names are shown.
            let name = frame.name.split('<').next().unwrap_or_default();
            frame.name = format!("{path}::{name}");
        }
    }
    frames
}

fn has_lines_only(loader: &Loader, address: u64) -> bool {
    let Ok(mut found) = loader.find_frames(address) else { return false };
    let mut has = false;
    while let Ok(Some(frame)) = found.next() {
        let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
        has = name.is_some_and(|name| {
            !plumbing::has_path(&format!("{:#}", rustc_demangle::demangle(&name)))
        });
    }
    has
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
