//! The stack of a thread that computes, copied by the kernel: no signal is sent.
//!
//! A perf event (`perf_event_open(2)`) counts the time that the thread has a processor. When it
//! expires in user mode, the kernel writes the registers and the stack to memory that it shares
//! with us, and the thread goes on: it is in no system call that could be interrupted. The event
//! expires by a timer of its own, not at the kernel's tick as a CPU timer does, so that it also meets
//! a thread that shares its processor with others and has lost it at every tick.

use std::{
    collections::HashMap,
    fs,
    io::{Error, ErrorKind},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    slice,
    sync::atomic::{AtomicU64, Ordering::Acquire},
    time::{Duration, Instant},
};

use memmap2::{MmapOptions, MmapRaw};
use perf_event_open_sys::{bindings as sys, ioctls, perf_event_open};
use thiserror::Error;

use super::{
    shot::{Blank, Registers},
    ticket::{Reason, Ticket},
    waiting,
};
use crate::slot::{Seen, seen_by};

/// The threads of a session that were asked for their stacks.
#[derive(Debug)]
pub(super) struct PerfEvents {
    asked: HashMap<i32, Asked>,
    /// Never expires. With the first event of a system, and a second after the last one, the kernel
    /// changes its own code, which takes it 20 ms; see `perf_sched_events` in kernel/events/core.c.
    _first: OwnedFd,
}

/// The reason that the kernel does not copy stacks of threads that compute.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoPerfEvents {
    /// A filter may kill the process for a call that it does not list.
    #[error("a seccomp filter is in force")]
    Filtered,
    /// The kernel refuses, as a rule by `kernel.perf_event_paranoid`.
    #[error("perf_event_open(2): {0}")]
    Refused(#[from] Error),
}

/// A thread that was asked for its stack.
#[derive(Debug)]
struct Asked {
    /// The ring buffer; its first page has the number of bytes written. Unmapped before the event is
    /// closed.
    memory: MmapRaw,
    _event: OwnedFd,
    at: Instant,
    /// The poll of the thread at that time.
    seen: Seen,
}

// SAFETY: the pointers in `seen` are those of a slot, which every thread may read; they are followed
// only as `waiting::request_id` and `handler_at` do.
unsafe impl Send for Asked {}

/// A stack as the kernel wrote it.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    /// By the system's monotonic clock, in nanoseconds.
    at: u64,
    registers: Registers,
    /// From the stack pointer upwards.
    stack: &'a [u8],
}

/// Time on a processor after which an event expires, in nanoseconds.
const PERIOD: u64 = 100_000;
/// Bytes of a stack that are copied at most: with all else, a record has less than 64 KiB.
const STACK: u32 = (64 << 10) - 256;
/// Bytes for records: a power of two, and more than one record.
const RECORDS: usize = 128 << 10;
/// Threads that are asked at a time. Without a right, a user may have so much memory of this kind
/// (`kernel.perf_event_mlock_kb`), and each process as much as it may lock (`RLIMIT_MEMLOCK`).
const MOST: usize = 16;
/// Time after which a request that was not answered gives way to a new one.
const KEPT: Duration = Duration::from_secs(1);

/// The registers that are wanted, in the order in which they are written.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [u32; 3] = [sys::PERF_REG_X86_BP, sys::PERF_REG_X86_SP, sys::PERF_REG_X86_IP];
/// The registers that are wanted, in the order in which they are written.
#[cfg(target_arch = "aarch64")]
const REGISTERS: [u32; 4] = [
    sys::PERF_REG_ARM64_X29,
    sys::PERF_REG_ARM64_LR,
    sys::PERF_REG_ARM64_SP,
    sys::PERF_REG_ARM64_PC,
];

/// Returns an error if the kernel does not copy stacks of threads that compute.
pub fn perf_events_allowed() -> Result<(), NoPerfEvents> {
    event_of(0).map(drop)
}

impl PerfEvents {
    pub(super) fn new() -> Result<Self, NoPerfEvents> {
        Ok(Self { asked: HashMap::new(), _first: event_of(0)? })
    }

    /// Asks a thread that runs for its stack. Where this fails, a signal may do.
    pub(super) fn ask(&mut self, thread: i32) -> Result<(), NoPerfEvents> {
        self.asked.remove(&thread);
        if self.asked.len() >= MOST {
            self.asked.retain(|_, asked| asked.at.elapsed() < KEPT);
        }
        if self.asked.len() >= MOST {
            return Err(Error::from(ErrorKind::QuotaExceeded).into());
        }
        let seen = seen_by(thread);
        let asked = Asked::new(thread, seen)?;
        self.asked.insert(thread, asked);
        Ok(())
    }

    /// Withdraws the request for a thread's stack, unless it was answered.
    pub(super) fn withdraw(&mut self, thread: i32) {
        if self.asked.get(&thread).is_some_and(|asked| asked.sample().is_none()) {
            self.asked.remove(&thread);
        }
    }

    /// Makes shots of the answers that have come. `ticket` is what those of a thread carry.
    pub(super) fn collect(&mut self, ticket: impl Fn(i32) -> Ticket) {
        self.asked.retain(|thread, asked| {
            let Some(sample) = asked.sample() else { return true };
            asked.hand_over(&sample, *thread, ticket(*thread));
            false
        });
    }
}

impl Asked {
    fn new(thread: i32, seen: Seen) -> Result<Self, NoPerfEvents> {
        let event = event_of(thread)?;
        let length = page() + RECORDS;
        let memory = MmapOptions::new().len(length).map_raw(event.as_raw_fd())?;
        // SAFETY: the event is open; it is enabled until it has expired once.
        if unsafe { ioctls::REFRESH(event.as_raw_fd(), 1) } != 0 {
            return Err(Error::last_os_error().into());
        }
        Ok(Self { memory, _event: event, at: Instant::now(), seen })
    }

    /// The sample, once the kernel has written it.
    fn sample(&self) -> Option<Sample<'_>> {
        #[expect(clippy::cast_ptr_alignment, reason = "mapped memory begins with a page")]
        let first_page = self.memory.as_mut_ptr().cast::<sys::perf_event_mmap_page>();
        // SAFETY: mapped, and the kernel writes the field as a whole.
        let written = unsafe { AtomicU64::from_ptr(&raw mut (*first_page).data_head) };
        let written = usize::try_from(written.load(Acquire)).ok()?.min(RECORDS);
        // SAFETY: mapped. The kernel has written so many bytes, and overwrites none of them, since
        // `data_tail` never moves.
        let records = unsafe { slice::from_raw_parts(self.memory.as_ptr().add(page()), written) };
        Sample::first(records)
    }

    fn hand_over(&self, sample: &Sample<'_>, thread: i32, ticket: Ticket) {
        let Some(mut blank) = Blank::claim(Reason::Stall, 1) else { return };
        let seen = self.seen;
        let lasts = || seen_by(thread) == seen;
        // The sample is from the time in between. It is of that poll if the poll still lasts.
        let is_certain = lasts();
        let request_id = waiting::request_id(seen, lasts);
        // SAFETY: the blank is ours alone, and so are its content, which is plain memory that holds a
        // value, however old, of each field, and its stack, which has room for more than `STACK`.
        let content = unsafe {
            sample.stack.as_ptr().copy_to_nonoverlapping(blank.stack(), sample.stack.len());
            &mut *blank.content()
        };
        content.ticket = ticket;
        content.weight = 1;
        content.registers = sample.registers;
        content.seen = seen;
        content.is_certain = is_certain;
        content.set_request_id(request_id.as_deref().unwrap_or_default());
        content.at = sample.at;
        content.from = sample.registers.sp;
        content.length = sample.stack.len();
        blank.ready();
    }
}

impl<'a> Sample<'a> {
    /// The first sample of these records, which are described in `perf_event_open(2)`, "MMAP
    /// layout".
    fn first(mut records: &'a [u8]) -> Option<Self> {
        loop {
            let header = word(&mut { records })?.to_ne_bytes();
            let [a, b, c, d, _, _, low, high] = header;
            let (kind, size) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([low, high]));
            let (record, next) = records.split_at_checked(size.into())?;
            if kind == sys::PERF_RECORD_SAMPLE {
                return Self::parse(record.get(size_of::<u64>()..)?);
            }
            records = next;
        }
    }

    /// The fields that [`event_of`] asks for, in the order of the manual.
    fn parse(mut fields: &'a [u8]) -> Option<Self> {
        let at = word(&mut fields)?;
        let abi = word(&mut fields)?;
        if abi != u64::from(sys::PERF_SAMPLE_REGS_ABI_64) {
            return None;
        }
        let mut registers = [0; REGISTERS.len()];
        for register in &mut registers {
            *register = word(&mut fields)?;
        }
        #[cfg(target_arch = "x86_64")]
        let registers = {
            let [fp, sp, ip] = registers;
            Registers { ip, sp, fp }
        };
        #[cfg(target_arch = "aarch64")]
        let registers = {
            let [fp, lr, sp, ip] = registers;
            Registers { ip, sp, fp, lr }
        };
        let room = usize::try_from(word(&mut fields)?).ok()?;
        let (stack, mut fields) = fields.split_at_checked(room)?;
        let copied = if room == 0 { 0 } else { word(&mut fields)? };
        let stack = stack.get(..usize::try_from(copied).ok()?)?;
        Some(Self { at, registers, stack })
    }
}

/// Takes the next word of a record.
fn word(fields: &mut &[u8]) -> Option<u64> {
    let (word, rest) = fields.split_first_chunk()?;
    *fields = rest;
    Some(u64::from_ne_bytes(*word))
}

/// Opens a disabled event of a thread of this process; 0 is the calling thread.
fn event_of(thread: i32) -> Result<OwnedFd, NoPerfEvents> {
    if is_filtered() {
        return Err(NoPerfEvents::Filtered);
    }
    let mut event = sys::perf_event_attr {
        type_: sys::PERF_TYPE_SOFTWARE,
        size: size_of::<sys::perf_event_attr>() as u32,
        config: sys::PERF_COUNT_SW_TASK_CLOCK.into(),
        sample_type: (sys::PERF_SAMPLE_TIME
            | sys::PERF_SAMPLE_REGS_USER
            | sys::PERF_SAMPLE_STACK_USER)
            .into(),
        sample_regs_user: REGISTERS.iter().map(|register| 1 << register).sum(),
        sample_stack_user: STACK,
        clockid: libc::CLOCK_MONOTONIC,
        ..Default::default()
    };
    event.__bindgen_anon_1.sample_period = PERIOD;
    event.set_disabled(1);
    event.set_exclude_kernel(1);
    event.set_exclude_hv(1);
    event.set_use_clockid(1);
    let (any_processor, no_group) = (-1, -1);
    let flags = libc::c_ulong::from(sys::PERF_FLAG_FD_CLOEXEC);
    // SAFETY: the kernel reads the attributes, which are as large as they say.
    let opened = unsafe { perf_event_open(&raw mut event, thread, any_processor, no_group, flags) };
    if opened < 0 {
        return Err(Error::last_os_error().into());
    }
    // SAFETY: just opened, with no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Returns whether a seccomp filter is in force, or may be. The call cannot be tried: systemd's
/// filters kill the process by default.
fn is_filtered() -> bool {
    fs::read_to_string("/proc/thread-self/status").map_or(true, |status| has_filter(&status))
}

/// Returns whether a thread with this status has a filter. A kernel without seccomp has no such line.
fn has_filter(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() != "0")
}

fn page() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of this kind.
    fn record(kind: u32, fields: &[u8]) -> Vec<u8> {
        let size = u16::try_from(8 + fields.len()).expect("short");
        let mut record = kind.to_ne_bytes().to_vec();
        record.extend_from_slice(&[0, 0]);
        record.extend_from_slice(&size.to_ne_bytes());
        record.extend_from_slice(fields);
        record
    }

    /// The fields of a sample: 16 bytes of a stack, of which so many were copied.
    fn fields(abi: u32, copied: u64) -> Vec<u8> {
        let registers = (1..=REGISTERS.len() as u64).map(|register| register * 8);
        let before = [700, abi.into()].into_iter().chain(registers).chain([16]);
        let stack = [0xaa; 16];
        before.flat_map(u64::to_ne_bytes).chain(stack).chain(copied.to_ne_bytes()).collect()
    }

    #[test]
    fn sample_is_the_first_of_its_kind_among_records() {
        let sample = record(sys::PERF_RECORD_SAMPLE, &fields(sys::PERF_SAMPLE_REGS_ABI_64, 8));
        let records = [record(sys::PERF_RECORD_THROTTLE, &[0; 24]), sample].concat();
        let found = Sample::first(&records).expect("there");
        assert_eq!((found.at, found.stack), (700, [0xaa; 8].as_slice()));
        let Registers { ip, sp, fp, .. } = found.registers;
        let last = REGISTERS.len() as u64 * 8;
        assert_eq!((ip, sp, fp), (last, last - 8, 8));
    }

    #[test]
    fn records_without_a_whole_sample_of_64_bits_have_none() {
        let whole = record(sys::PERF_RECORD_SAMPLE, &fields(sys::PERF_SAMPLE_REGS_ABI_64, 8));
        for length in 0..whole.len() {
            assert_eq!(Sample::first(&whole[..length]), None, "{length} of {}", whole.len());
        }
        for fields in [
            fields(sys::PERF_SAMPLE_REGS_ABI_32, 8),
            fields(sys::PERF_SAMPLE_REGS_ABI_NONE, 8),
            // More than there was room for.
            fields(sys::PERF_SAMPLE_REGS_ABI_64, 17),
        ] {
            assert_eq!(Sample::first(&record(sys::PERF_RECORD_SAMPLE, &fields)), None);
        }
        assert_eq!(Sample::first(&record(sys::PERF_RECORD_LOST, &[0; 16])), None);
    }

    #[test]
    fn filter_is_known_by_the_mode_of_seccomp() {
        for (status, expected) in [
            ("Name:\tapp\nSeccomp:\t0\nSeccomp_filters:\t0\n", false),
            ("Name:\tapp\nSeccomp:\t2\nSeccomp_filters:\t1\n", true),
            ("Name:\tapp\n", false),
        ] {
            assert_eq!(has_filter(status), expected, "{status:?}");
        }
    }

    #[test]
    fn thread_that_is_gone_is_refused() {
        let Ok(mut events) = PerfEvents::new() else {
            assert!(perf_events_allowed().is_err());
            return;
        };
        let refused = events.ask(i32::MAX / 16).expect_err("no such thread").to_string();
        assert!(refused.starts_with("perf_event_open(2): "), "{refused}");
    }
}
