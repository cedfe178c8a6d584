//! From a copied stack to addresses, by the call frame information of the code.

use std::time::{Duration, Instant};

use framehop::{
    CacheNative, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder as _,
    UnwinderNative,
};

#[cfg(target_arch = "x86_64")]
use super::frame_pointer::FramePointers;
use super::{
    locks::{self, LockWait, Sign},
    modules::{Module, Section},
    procfs::Thread,
    shot::{Registers, STACK, Shot},
    stack::{Stack, Walked},
    waiting::{self, Copied, NotCopied},
};
use crate::slot::Seen;

/// Most frames of a stack.
const MAX_FRAMES: usize = 512;
/// How often, at most, the list of modules is read again.
const REFRESH: Duration = Duration::from_secs(1);

/// The stack of a thread that waits, and what it waits in.
#[derive(Debug)]
pub struct WaitingStack {
    /// Frames from the system call, or the page fault, outwards.
    pub stack: Stack,
    /// `None` if it waits in no system call, as in a page fault.
    pub syscall: Option<&'static str>,
    /// Number of time slices that the thread was given before the wait: as long as it stays, the
    /// stack does.
    pub slices: u64,
    /// The work of the thread.
    pub seen: Seen,
    /// The name that the client has given the request of the poll, as far as it is printable ASCII;
    /// `None` if it has none or the thread polls nothing.
    pub request_id: Option<String>,
    /// The futex word that it waits for; `None` if it waits for none.
    pub futex: Option<u64>,
}

/// A thread that may hold a lock.
#[derive(Debug)]
pub struct Suspect {
    /// Stack of the thread, with the frame that refers to the lock.
    pub stack: Stack,
    /// Index of the frame that refers to the lock, 0 for the leaf.
    pub frame: usize,
    /// Kind of the evidence.
    pub sign: Sign,
    /// The work of the thread.
    pub seen: Seen,
    /// The futex word that the thread itself waits for; `None` if it waits for none.
    pub futex: Option<u64>,
}

/// In place of a register that is not known: no stack is there, so that no read succeeds.
const UNKNOWN: u64 = 0x7fff_f000_dead_0000;
/// Bytes of a waiting thread's stack that are copied at first, and as a rule suffice.
const FIRST_COPY: usize = 16 << 10;

/// Knows the unwind information of all code in the process.
pub struct Unwinder {
    rules: UnwinderNative<Section, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    modules: Vec<Module>,
    read: Instant,
    #[cfg(target_arch = "x86_64")]
    frame_pointers: FramePointers,
}

impl Unwinder {
    /// Reads the unwind information of the code that is mapped now; fails where the list of mappings
    /// (`/proc/self/maps`) cannot be read.
    pub fn new() -> std::io::Result<Self> {
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
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The stack that a shot holds.
    pub fn unwind(&mut self, shot: &Shot) -> Stack {
        let stack = self.walk(shot.content().registers, shot.stack()).stack;
        let end = stack.addresses.last().filter(|_| stack.truncated);
        // A library that was loaded meanwhile, or else code that was made at run time.
        if end.is_some_and(|end| !self.knows(*end))
            && self.read.elapsed() >= REFRESH
            && self.refresh().is_ok()
        {
            return self.walk(shot.content().registers, shot.stack()).stack;
        }
        stack
    }

    /// The stack of a thread that waits, taken without a signal: the thread does not notice.
    pub fn waiting(&mut self, thread: Thread) -> Result<WaitingStack, NotCopied> {
        let (copied, Walked { stack, .. }) = self.copy(thread)?;
        let futex = copied.futex();
        let Copied { syscall, slices, seen, request_id, .. } = copied;
        Ok(WaitingStack { stack, syscall, slices, seen, request_id, futex })
    }

    /// Searches the stack of a waiting thread for evidence that it holds a lock.
    pub fn suspect(
        &mut self,
        thread: Thread,
        wait: &LockWait,
    ) -> Result<Option<Suspect>, NotCopied> {
        let (copied, walked) = self.copy(thread)?;
        let futex = copied.futex();
        if futex.is_some_and(|word| wait.is_word(word)) {
            // It waits for the same lock.
            return Ok(None);
        }
        let found = locks::refers(wait, &self.modules, &walked, (copied.sp, &copied.bytes));
        let seen = copied.seen;
        Ok(found.map(|(frame, sign)| Suspect { stack: walked.stack, frame, sign, seen, futex }))
    }

    /// Searches the stack of a shot for evidence that its thread holds a lock.
    /// `seen` is the work of the thread at that moment.
    pub fn suspect_in(&mut self, (shot, seen): (&Shot, Seen), wait: &LockWait) -> Option<Suspect> {
        let walked = self.walk(shot.content().registers, shot.stack());
        let (frame, sign) = locks::refers(wait, &self.modules, &walked, shot.stack())?;
        Some(Suspect { stack: walked.stack, frame, sign, seen, futex: None })
    }

    /// A copy of the stack of a thread that waits, large enough to unwind it.
    fn copy(&mut self, thread: Thread) -> Result<(Copied, Walked), NotCopied> {
        let mut room = FIRST_COPY;
        loop {
            let copied = waiting::copy(thread, room)?;
            // Other registers are not known at first.
            let registers = unknown_registers(copied.ip, copied.sp);
            let walked = self.follow(copied.ip, registers, (copied.sp, &copied.bytes));
            let is_cut_off = walked.ran_out && copied.bytes.len() == room && room < STACK;
            let end = walked.stack.addresses.last().copied().filter(|_| walked.stack.truncated);
            let is_new_code = end.is_some_and(|end| !self.knows(end))
                && self.read.elapsed() >= REFRESH
                && self.refresh().is_ok();
            if is_cut_off {
                room *= 4;
            } else if !is_new_code {
                return Ok((copied, walked));
            }
        }
    }

    /// The stack from a waker's clone up to the poll of the watched future, which is its end.
    #[cfg(tokio_unstable)]
    pub fn awaits(&mut self, place: &super::awaits::Await) -> Stack {
        let stack = self.walk(place.registers, (place.from, &place.bytes)).stack;
        Stack { truncated: place.is_cut, ..stack }
    }

    fn walk(&mut self, registers: Registers, copy: (u64, &[u8])) -> Walked {
        self.follow(registers.ip, native(registers), copy)
    }

    /// Unwinds from these registers by a copy of the stack, which begins at an address.
    fn follow(
        &mut self,
        ip: u64,
        mut registers: UnwindRegsNative,
        (from, bytes): (u64, &[u8]),
    ) -> Walked {
        let mut ran_out = false;
        let mut read = |address: u64| {
            let offset = usize::try_from(address.wrapping_sub(from)).map_err(|_| ())?;
            let word = bytes.get(offset..).and_then(<[u8]>::first_chunk);
            // Beyond the copy, and not at a register that is not known.
            ran_out |= word.is_none() && offset < STACK;
            Ok(u64::from_ne_bytes(*word.ok_or(())?))
        };
        let mut at = FrameAddress::from_instruction_pointer(ip);
        let mut addresses = Vec::with_capacity(64);
        let mut stack_pointers = Vec::with_capacity(64);
        let truncated = loop {
            if addresses.len() == MAX_FRAMES {
                break true;
            }
            addresses.push(at.address_for_lookup());
            stack_pointers.push(registers.sp());
            #[cfg(target_arch = "x86_64")]
            let before = registers;
            let next = self.rules.unwind_frame(at, &mut registers, &mut self.cache, &mut read);
            #[cfg(target_arch = "x86_64")]
            let next = match next {
                Err(_) if before.bp() == UNKNOWN => {
                    registers = before;
                    let sp = registers.sp();
                    let above = usize::try_from(sp.wrapping_sub(from)).ok();
                    let above = above.and_then(|above| bytes.get(above..)).unwrap_or_default();
                    let address = at.address_for_lookup();
                    let pointer = self.frame_pointers.find(&self.modules, address, sp, above);
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
        let stack = Stack { addresses: addresses.into(), truncated };
        Walked { stack, stack_pointers, ran_out }
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

impl Copied {
    /// The word that the thread waits for in futex(2).
    fn futex(&self) -> Option<u64> {
        (self.syscall == Some("futex")).then_some(self.argument)
    }
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
