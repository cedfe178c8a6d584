//! From a copied stack to addresses, by the call frame information of the code.

use std::time::{Duration, Instant};

use framehop::{CacheNative, MayAllocateDuringUnwind, Unwinder as _, UnwinderNative};

use super::{
    modules::{Module, Section},
    shot::{Registers, Shot},
};

/// Most frames of a stack.
const MAX_FRAMES: usize = 512;
/// How often, at most, the list of modules is read again.
const REFRESH: Duration = Duration::from_secs(1);

/// Addresses of a stack, the leaf first: each is that of an instruction of the frame's function.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Stack {
    pub(crate) addresses: Box<[u64]>,
    /// Whether it ends before the thread's first function.
    pub(crate) truncated: bool,
}

/// Knows the unwind information of all code in the process.
pub(crate) struct Unwinder {
    rules: UnwinderNative<Section, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    modules: Vec<Module>,
    read: Instant,
}

impl Unwinder {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut new = Self {
            rules: UnwinderNative::new(),
            cache: CacheNative::new(),
            modules: Vec::new(),
            read: Instant::now(),
        };
        new.refresh()?;
        Ok(new)
    }

    /// The code that is there.
    pub(crate) fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The stack that a shot holds.
    pub(crate) fn unwind(&mut self, shot: &Shot) -> Stack {
        let stack = self.walk(shot.content().registers, shot.stack());
        let end = stack.addresses.last().filter(|_| stack.truncated);
        // A library that was loaded meanwhile, or else code that was made at run time.
        if end.is_some_and(|end| !self.knows(*end))
            && self.read.elapsed() >= REFRESH
            && self.refresh().is_ok()
        {
            return self.walk(shot.content().registers, shot.stack());
        }
        stack
    }

    /// The stack from a waker's clone up to the poll of the watched future, which is its end.
    #[cfg(tokio_unstable)]
    pub(crate) fn awaits(&mut self, place: &super::awaits::Await) -> Stack {
        let stack = self.walk(place.registers, (place.from, &place.bytes));
        Stack { truncated: false, ..stack }
    }

    fn walk(&mut self, registers: Registers, (from, bytes): (u64, &[u8])) -> Stack {
        let mut read = |address: u64| {
            let offset = usize::try_from(address.wrapping_sub(from)).map_err(|_| ())?;
            let bytes = bytes.get(offset..).and_then(<[u8]>::first_chunk).ok_or(())?;
            Ok(u64::from_ne_bytes(*bytes))
        };
        let native = native(registers);
        let mut frames = self.rules.iter_frames(registers.ip, native, &mut self.cache, &mut read);
        let mut addresses = Vec::with_capacity(64);
        let truncated = loop {
            match frames.next() {
                Ok(Some(frame)) if addresses.len() < MAX_FRAMES => {
                    addresses.push(frame.address_for_lookup());
                }
                Ok(None) => break false,
                Ok(Some(_)) | Err(_) => break true,
            }
        };
        Stack { addresses: addresses.into(), truncated }
    }

    fn knows(&self, address: u64) -> bool {
        self.modules.iter().any(|module| module.contains(address))
    }

    fn refresh(&mut self) -> std::io::Result<()> {
        self.read = Instant::now();
        self.modules = Module::all()?;
        self.rules = UnwinderNative::new();
        // Rules of code that is gone must not be used for what came in its place.
        self.cache = CacheNative::new();
        for module in &self.modules {
            self.rules.add_module(module.framehop());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("modules", &self.modules.len()).finish_non_exhaustive()
    }
}

#[cfg(target_arch = "x86_64")]
fn native(Registers { ip, sp, fp }: Registers) -> framehop::UnwindRegsNative {
    framehop::UnwindRegsNative::new(ip, sp, fp)
}

#[cfg(target_arch = "aarch64")]
fn native(Registers { sp, fp, lr, .. }: Registers) -> framehop::UnwindRegsNative {
    framehop::UnwindRegsNative::new(lr, sp, fp)
}
