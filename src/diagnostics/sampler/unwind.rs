//! From a copied stack to addresses, by the call frame information of the code.

use std::time::{Duration, Instant};

use framehop::{
    CacheNative, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder as _,
    UnwinderNative,
};

#[cfg(target_arch = "x86_64")]
use super::frame_pointer::FramePointers;
use super::{
    modules::{Module, Section},
    procfs::Thread,
    shot::{Registers, STACK, Shot},
    waiting::{self, Copied, NotCopied},
};
use crate::diagnostics::watch::Seen;

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

/// The stack of a thread that waits, and what it waits in.
#[derive(Debug)]
pub(crate) struct WaitingStack {
    pub(crate) stack: Stack,
    /// `None` if it waits in no system call, as in a page fault.
    pub(crate) syscall: Option<&'static str>,
    /// Number of time slices that the thread was given before the wait: as long as it stays, the
    /// stack does.
    pub(crate) slices: u64,
    /// The work of the thread.
    pub(crate) seen: Seen,
    pub(crate) request_id: Option<String>,
}

/// In place of a register that is not known: no stack is there, so that no read succeeds.
const UNKNOWN: u64 = 0x7fff_f000_dead_0000;
/// Bytes of a waiting thread's stack that are copied at first, and as a rule suffice.
const FIRST_COPY: usize = 16 << 10;

/// Knows the unwind information of all code in the process.
pub(crate) struct Unwinder {
    rules: UnwinderNative<Section, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    modules: Vec<Module>,
    read: Instant,
    #[cfg(target_arch = "x86_64")]
    frame_pointers: FramePointers,
}

impl Unwinder {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut new = Self {
            rules: UnwinderNative::new(),
            cache: CacheNative::new(),
            modules: Vec::new(),
            read: Instant::now(),
            #[cfg(target_arch = "x86_64")]
            frame_pointers: FramePointers::default(),
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

    /// The stack of a thread that waits, taken without a signal: the thread does not notice.
    pub(crate) fn waiting(&mut self, thread: Thread) -> Result<WaitingStack, NotCopied> {
        let mut room = FIRST_COPY;
        loop {
            let copied = waiting::copy(thread, room)?;
            let walked = self.walk_waiting(&copied);
            let is_cut_off = walked.ran_out && copied.bytes.len() == room && room < STACK;
            let end = walked.stack.addresses.last().copied().filter(|_| walked.stack.truncated);
            let is_new_code = end.is_some_and(|end| !self.knows(end))
                && self.read.elapsed() >= REFRESH
                && self.refresh().is_ok();
            if is_cut_off {
                room *= 4;
            } else if !is_new_code {
                let Copied { syscall, slices, seen, request_id, .. } = copied;
                return Ok(WaitingStack { stack: walked.stack, syscall, slices, seen, request_id });
            }
        }
    }

    /// Unwinds by stack pointer and program counter; other registers are not known at first.
    fn walk_waiting(&mut self, copied: &Copied) -> Walked {
        let Copied { ip, sp, ref bytes, .. } = *copied;
        let mut ran_out = false;
        let mut read = |address: u64| {
            let offset = usize::try_from(address.wrapping_sub(sp)).map_err(|_| ())?;
            let word = bytes.get(offset..).and_then(<[u8]>::first_chunk);
            // Beyond the copy, and not at a register that is not known.
            ran_out |= word.is_none() && offset < STACK;
            Ok(u64::from_ne_bytes(*word.ok_or(())?))
        };
        let mut registers = unknown_registers(ip, sp);
        let mut at = FrameAddress::from_instruction_pointer(ip);
        let mut addresses = Vec::with_capacity(64);
        let truncated = loop {
            if addresses.len() == MAX_FRAMES {
                break true;
            }
            addresses.push(at.address_for_lookup());
            #[cfg(target_arch = "x86_64")]
            let before = registers;
            let next = self.rules.unwind_frame(at, &mut registers, &mut self.cache, &mut read);
            #[cfg(target_arch = "x86_64")]
            let next = match next {
                Err(_) if before.bp() == UNKNOWN => {
                    registers = before;
                    let sp_of_frame = registers.sp();
                    let above = usize::try_from(sp_of_frame.wrapping_sub(sp)).ok();
                    let above = above.and_then(|above| bytes.get(above..)).unwrap_or_default();
                    let address = at.address_for_lookup();
                    let pointer =
                        self.frame_pointers.find(&self.modules, address, sp_of_frame, above);
                    let Some(pointer) = pointer else { break true };
                    registers.set_bp(pointer);
                    self.rules.unwind_frame(at, &mut registers, &mut self.cache, &mut read)
                }
                next => next,
            };
            match next.map(|next| next.map(FrameAddress::from_return_address)) {
                // A return address of 0 is below the thread's first function.
                Ok(None | Some(None)) => break false,
                Ok(Some(Some(next))) if next.address() != UNKNOWN => at = next,
                Ok(Some(Some(_))) | Err(_) => break true,
            }
        };
        Walked { stack: Stack { addresses: addresses.into(), truncated }, ran_out }
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
        #[cfg(target_arch = "x86_64")]
        self.frame_pointers.clear();
        for module in &self.modules {
            self.rules.add_module(module.framehop());
        }
        Ok(())
    }
}

/// An unwound stack, and whether it needed more of the stack than was copied.
struct Walked {
    stack: Stack,
    ran_out: bool,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("modules", &self.modules.len()).finish_non_exhaustive()
    }
}

#[cfg(target_arch = "x86_64")]
fn native(Registers { ip, sp, fp }: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(ip, sp, fp)
}

#[cfg(target_arch = "aarch64")]
fn native(Registers { sp, fp, lr, .. }: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(lr, sp, fp)
}

/// The registers of which only these are known.
#[cfg(target_arch = "x86_64")]
fn unknown_registers(ip: u64, sp: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(ip, sp, UNKNOWN)
}

/// The registers of which only these are known. A function that keeps its return address in the link
/// register cannot be unwound; one that waits in a system call has saved it as a rule.
#[cfg(target_arch = "aarch64")]
fn unknown_registers(_ip: u64, sp: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(UNKNOWN, sp, UNKNOWN)
}
