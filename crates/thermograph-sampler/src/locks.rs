//! The lock that a thread waits for, and the threads that may hold it.
//!
//! Locks wait in futex(2). Which lock it is, and where, follows from the function of the stack that
//! waits for it. The mutexes of the C library know the thread that owns them; those of the standard
//! library and of `parking_lot` do not: of these, a thread is a suspect if a live frame of its
//! stack has the lock's address, as guards do, or, where the lock is a static, if the code of a live
//! frame takes the lock before the place where it stands, and does not release it up to there.

use std::{fmt, fs, ops::Range};

#[cfg(target_arch = "x86_64")]
use super::frame_pointer::{saved_registers, start_of};
use super::{modules::Module, stack::Walked, waiting::word};

/// A lock, as the function that waits for it tells.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LockKind {
    /// `std::sync::Mutex`, which does not record its owner.
    StdMutex,
    /// `std::sync::RwLock`, which readers and writers wait for in words of their own.
    StdRwLock,
    /// `parking_lot::Mutex`, whose waiting threads sleep in a word of their own.
    ParkingLotMutex,
    /// `parking_lot::RwLock`, whose waiting threads sleep in a word of their own.
    ParkingLotRwLock,
    /// `pthread_mutex_t` of the C library, which records its owner.
    PthreadMutex,
    /// `pthread_rwlock_t` of the C library.
    PthreadRwLock,
}

/// How a function waits for a lock.
#[derive(Clone, Copy, Debug)]
struct Waits {
    kind: LockKind,
    /// From the lock to the word that is waited for.
    offset: u64,
}

/// The functions of the process that wait for locks.
#[derive(Debug, Default)]
pub struct LockFunctions(Vec<(Range<u64>, Waits)>);

/// A lock that a thread waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LockWait {
    /// Type of the lock, by the function that waits for it.
    pub kind: LockKind,
    /// Address of the lock, as guards have it.
    pub address: u64,
    /// The word that is waited for.
    word: u64,
}

/// Evidence that a thread holds a lock.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sign {
    /// The lock records the thread id of its owner.
    Owner,
    /// A live frame has the lock's address.
    Address,
    /// The code of a live frame takes the lock before the place where it stands.
    Code,
}

/// Frames from the leaf in which the function is looked for that waits.
const NEAR_LEAF: usize = 8;
/// From the data of a waiting thread, of which `parking_lot` waits for the first word, back to the
/// address of the lock (`parking_lot_core` 0.9).
const PARKED_KEY: u64 = 32;
/// The longest code of one function that is searched.
#[cfg(target_arch = "x86_64")]
const SEARCHED: u64 = 256 << 10;

impl LockFunctions {
    /// Finds them by their symbols, in either mangling. Reads the symbols of all code, which takes
    /// some milliseconds.
    pub fn read() -> Self {
        let mut functions = Vec::new();
        for module in Module::all().unwrap_or_default() {
            module.functions(|name, range| {
                if let Some(waits) = Waits::of(name).filter(|_| !range.is_empty()) {
                    functions.push((range, waits));
                }
            });
        }
        Self(functions)
    }

    /// The lock that a thread waits for which waits for this word with this stack.
    pub fn wait(&self, futex: u64, stack: &[u64]) -> Option<LockWait> {
        let of = |address: &u64| self.0.iter().find(|(range, _)| range.contains(address));
        let (_, Waits { kind, offset }) = stack.iter().take(NEAR_LEAF).find_map(of)?;
        let address = match kind {
            LockKind::ParkingLotMutex | LockKind::ParkingLotRwLock => {
                // The lowest bits tell writers that wait for readers to end.
                word(futex.checked_sub(PARKED_KEY)?)? & !3
            }
            // Readers and writers wait for words of their own.
            LockKind::PthreadRwLock if !futex.is_multiple_of(8) => futex.checked_sub(12)?,
            LockKind::PthreadRwLock => futex.checked_sub(8)?,
            LockKind::StdMutex | LockKind::StdRwLock | LockKind::PthreadMutex => {
                futex.checked_sub(*offset)?
            }
        };
        (address != 0).then_some(LockWait { kind: *kind, address, word: futex })
    }
}

impl Waits {
    fn of(symbol: &str) -> Option<Self> {
        let has = |part: &str| symbol.contains(part);
        let kind = |kind, offset| Some(Self { kind, offset });
        match symbol {
            "pthread_mutex_lock" | "pthread_mutex_timedlock" | "pthread_mutex_clocklock" => {
                kind(LockKind::PthreadMutex, 0)
            }
            _ if symbol.starts_with("pthread_rwlock_") => kind(LockKind::PthreadRwLock, 0),
            _ if has("14lock_contended") && has("5mutex") => kind(LockKind::StdMutex, 0),
            _ if has("14read_contended") && has("6rwlock") => kind(LockKind::StdRwLock, 0),
            // Writers wait for the second word.
            _ if has("15write_contended") && has("6rwlock") => kind(LockKind::StdRwLock, 4),
            _ if has("9lock_slow") && has("9raw_mutex") => kind(LockKind::ParkingLotMutex, 0),
            _ if has("_slow") && has("10raw_rwlock") && has("lock_") => {
                kind(LockKind::ParkingLotRwLock, 0)
            }
            _ => None,
        }
    }
}

impl LockWait {
    /// A wait for the lock at this address, in the futex word at that one.
    #[doc(hidden)]
    pub fn new(kind: LockKind, address: u64, word: u64) -> Self {
        Self { kind, address, word }
    }

    /// Returns whether both wait for one lock, be it for different words.
    pub fn is_of_same_lock(&self, other: &Self) -> bool {
        (self.kind, self.address) == (other.kind, other.address)
    }

    /// Returns whether a thread that waits for this word waits for the same lock.
    pub(super) fn is_word(&self, word: u64) -> bool {
        match self.kind {
            // Each waits for a word of its own.
            LockKind::ParkingLotMutex | LockKind::ParkingLotRwLock => {
                word == self.word || self.is_key_of(word)
            }
            LockKind::StdRwLock => word == self.address || word == self.address + 4,
            LockKind::PthreadRwLock => (self.address..self.address + 16).contains(&word),
            LockKind::StdMutex | LockKind::PthreadMutex => word == self.word,
        }
    }

    fn is_key_of(&self, parked: u64) -> bool {
        let key = parked.checked_sub(PARKED_KEY).and_then(word);
        key.is_some_and(|key| key & !3 == self.address)
    }

    /// The thread that owns it; `None` if the lock does not record its owner.
    pub fn owner(&self) -> Option<i32> {
        let owner = match self.kind {
            // `__owner` of glibc's pthread_mutex_t, `__cur_writer` of its pthread_rwlock_t.
            LockKind::PthreadMutex => self.address + 8,
            LockKind::PthreadRwLock => self.address + 24,
            _ => return None,
        };
        let owner = i32::try_from(word(owner)? & u64::from(u32::MAX)).ok()?;
        let is_thread =
            owner > 0 && fs::exists(format!("/proc/self/task/{owner}")).unwrap_or(false);
        is_thread.then_some(owner)
    }
}

/// The innermost frame that shows that its thread may hold a lock.
pub(super) fn refers(
    wait: &LockWait,
    modules: &[Module],
    walked: &Walked,
    (from, bytes): (u64, &[u8]),
) -> Option<(usize, Sign)> {
    let mut frames = walked.stack_pointers.windows(2).enumerate();
    let place = |at: u64| usize::try_from(at.wrapping_sub(from)).ok();
    let by_address = frames.find_map(|(frame, ends)| {
        let (start, end) = place(ends[0]).zip(place(ends[1]))?;
        let words = bytes.get(start..end)?.as_chunks::<8>().0;
        let word = words.iter().rposition(|word| u64::from_ne_bytes(*word) == wait.address)?;
        let below_end = i64::try_from(end - start - word * 8).ok()?;
        Some(owner_of(modules, walked, frame, -below_end))
    });
    let by_code = || {
        let addresses = walked.stack.addresses.iter();
        addresses
            .enumerate()
            .find_map(|(frame, at)| takes(modules, *at, wait.address).then_some(frame))
    };
    let found = by_address.map(|frame| (frame, Sign::Address));
    found.or_else(|| by_code().map(|frame| (frame, Sign::Code)))
}

/// The frame that a word of a frame's is of, which lies at an offset from the frame's end: a function
/// saves the registers of its callers that it needs itself.
#[cfg(target_arch = "x86_64")]
fn owner_of(modules: &[Module], walked: &Walked, frame: usize, offset: i64) -> usize {
    let addresses = &walked.stack.addresses;
    let saved = |frame: usize| {
        let address = *addresses.get(frame)?;
        let module = modules.iter().find(|module| module.contains(address))?;
        Some(saved_registers(module, address))
    };
    let at_offset = |(register, at): (u16, i64)| (at == offset).then_some(register);
    let register = saved(frame).and_then(|saved| saved.into_iter().find_map(at_offset));
    let Some(register) = register else { return frame };
    // Of the callers, the first that has saved the register too has put something else there.
    let has_own = |frame: &usize| {
        saved(*frame).is_none_or(|saved| saved.iter().any(|(saved, _)| *saved == register))
    };
    (frame + 1..addresses.len()).find(has_own).unwrap_or(frame)
}

#[cfg(not(target_arch = "x86_64"))]
fn owner_of(_: &[Module], _: &Walked, frame: usize, _: i64) -> usize {
    frame
}

/// Returns whether the function at an address acquires a static lock before that address, and does
/// not release it up to there.
#[cfg(target_arch = "x86_64")]
fn takes(modules: &[Module], at: u64, lock: u64) -> bool {
    let module = modules.iter().find(|module| module.contains(at));
    let code = module.and_then(|module| {
        let start = start_of(module, at).filter(|start| at - start <= SEARCHED)?;
        Some((start, module.code(start, usize::try_from(at - start).ok()?)?))
    });
    code.is_some_and(|(start, code)| last_use(code, start, lock) == Some(Use::Takes))
}

#[cfg(not(target_arch = "x86_64"))]
fn takes(_: &[Module], _: u64, _: u64) -> bool {
    false
}

/// The effect of an instruction on a lock.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    /// It takes the lock, or its address.
    Takes,
    /// It releases the lock.
    Releases,
}

/// The last instruction of the code at `start` that refers to an address relative to itself.
///
/// Instructions are not decoded: what looks like a reference to these very eight bytes is one, but for
/// one chance in four thousand millions for each byte.
#[cfg(target_arch = "x86_64")]
fn last_use(code: &[u8], start: u64, address: u64) -> Option<Use> {
    // Behind the displacement there may be a constant.
    const CONSTANTS: [u64; 4] = [0, 1, 2, 4];
    let is_reference = |(place, displacement): &(usize, &[u8])| {
        let Ok(displacement) = <[u8; 4]>::try_from(*displacement) else { return false };
        let by = i64::from(i32::from_le_bytes(displacement));
        let end = start + *place as u64 + 4;
        // mod = 0, r/m = 5: relative to the instruction's end.
        let is_relative = place.checked_sub(1).is_some_and(|before| code[before] & 0xc7 == 5);
        is_relative && CONSTANTS.iter().any(|more| (end + more).wrapping_add_signed(by) == address)
    };
    let (place, _) = code.windows(4).enumerate().rfind(is_reference)?;
    // How locks of the standard library are released: xchg r/m, r. And those of parking_lot, which
    // take with the same instruction: cmpxchg r/m8, r8, and `mov al, 1` before.
    let code = &code[..place - 1];
    let is_release = match code {
        [.., 0x87] => true,
        [before @ .., 0x0f, 0xb0] => {
            let near = &before[before.len().saturating_sub(16)..];
            near.windows(2).any(|code| code == [0xb0, 1])
        }
        _ => false,
    };
    Some(if is_release { Use::Releases } else { Use::Takes })
}

impl LockKind {
    /// As it is called in code.
    pub fn name(self) -> &'static str {
        match self {
            Self::StdMutex => "std::sync::Mutex",
            Self::StdRwLock => "std::sync::RwLock",
            Self::ParkingLotMutex => "parking_lot::Mutex",
            Self::ParkingLotRwLock => "parking_lot::RwLock",
            Self::PthreadMutex => "pthread_mutex_t",
            Self::PthreadRwLock => "pthread_rwlock_t",
        }
    }
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Sign {
    /// In a few words.
    pub fn says(self) -> &'static str {
        match self {
            Self::Owner => "the lock records its owner",
            Self::Address => "the lock's address is on its stack",
            Self::Code => "its code acquired the lock before this line",
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    use std::cell::UnsafeCell;
    use std::{
        sync::{Arc, Mutex, RwLock, mpsc},
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{Suspect, Thread, Unwinder};

    static STATIC: Mutex<u32> = Mutex::new(0);

    /// The lock that `wait` waits for while `hold` holds it, and the signs that its holder and a
    /// bystander give. `hold` calls what it is given while it holds the lock.
    fn found(
        hold: impl FnOnce(&dyn Fn()) + Send,
        wait: impl FnOnce() + Send,
    ) -> (LockWait, Option<Suspect>) {
        let functions = LockFunctions::read();
        let mut unwinder = Unwinder::new().expect("readable");
        let (tell, told) = mpsc::channel();
        let (end_holder, holder_ends) = mpsc::channel::<()>();
        let (end_bystander, bystander_ends) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let tells = tell.clone();
            scope.spawn(move || {
                hold(&|| {
                    tells.send(Thread::current()).expect("told");
                    let _ = holder_ends.recv();
                });
            });
            let holder = told.recv().expect("told");
            let tells = tell.clone();
            scope.spawn(move || {
                tells.send(Thread::current()).expect("told");
                wait();
            });
            let waiter = told.recv().expect("told");
            scope.spawn(move || {
                tell.send(Thread::current()).expect("told");
                let _ = bystander_ends.recv();
            });
            let bystander = told.recv().expect("told");
            let give_up = Instant::now() + Duration::from_mins(1);
            let pause = || {
                assert!(Instant::now() < give_up, "no wait for a lock");
                thread::sleep(Duration::from_millis(1));
            };
            let lock = loop {
                let taken = unwinder.waiting(waiter).ok();
                let lock =
                    taken.and_then(|taken| functions.wait(taken.futex?, &taken.stack.addresses));
                match lock {
                    Some(lock) => break lock,
                    None => pause(),
                }
            };
            assert!(unwinder.suspect(waiter, &lock).expect("it waits").is_none(), "the waiter");
            let mut suspect = |thread| loop {
                match unwinder.suspect(thread, &lock) {
                    Ok(suspect) => break suspect,
                    Err(_) => pause(),
                }
            };
            assert!(suspect(bystander).is_none(), "the bystander");
            let signs = suspect(holder);
            if let Some(owner) = lock.owner() {
                assert_eq!(owner, holder.number());
            }
            drop((end_holder, end_bystander));
            (lock, signs)
        })
    }

    #[test]
    fn holder_of_a_lock_on_the_heap_has_its_address() {
        let lock = Arc::new((0_u64, Mutex::new(0)));
        let (wait, holder) = found(
            |stand| {
                let guard = lock.1.lock();
                stand();
                drop(guard);
            },
            || drop(lock.1.lock()),
        );
        assert_eq!(wait.kind, LockKind::StdMutex);
        assert_eq!(wait.address, (&raw const lock.1).addr() as u64);
        assert_eq!(holder.map(|suspect| suspect.sign), Some(Sign::Address));
    }

    #[test]
    fn readers_and_writers_of_a_lock_hold_the_same_lock() {
        let lock = Arc::new((0_u64, RwLock::new(0)));
        let (wait, holder) = found(
            |stand| {
                let guard = lock.1.write();
                stand();
                drop(guard);
            },
            || drop(lock.1.read()),
        );
        assert_eq!(wait.kind, LockKind::StdRwLock);
        assert!(holder.is_some(), "the writer");
        let (again, holder) = found(
            |stand| {
                let guard = lock.1.read();
                stand();
                drop(guard);
            },
            || drop(lock.1.write()),
        );
        assert_eq!((again.kind, again.address), (wait.kind, wait.address));
        assert!(holder.is_some(), "the reader");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn holder_of_a_static_lock_has_its_address_or_takes_it_in_its_code() {
        let (wait, holder) = found(
            |stand| {
                let guard = STATIC.lock();
                stand();
                drop(guard);
            },
            || drop(STATIC.lock()),
        );
        assert_eq!(wait.address, (&raw const STATIC).addr() as u64);
        assert!(holder.is_some());
    }

    #[test]
    fn locks_of_parking_lot_are_found_beside_what_is_waited_for() {
        let lock = Arc::new((0_u64, parking_lot::Mutex::new(0)));
        let (wait, holder) = found(
            |stand| {
                let guard = lock.1.lock();
                stand();
                drop(guard);
            },
            || drop(lock.1.lock()),
        );
        assert_eq!(wait.kind, LockKind::ParkingLotMutex);
        assert_eq!(wait.address, (&raw const lock.1).addr() as u64);
        assert_eq!(holder.map(|suspect| suspect.sign), Some(Sign::Address));

        let lock = Arc::new((0_u64, parking_lot::RwLock::new(0)));
        let address = (&raw const lock.1).addr() as u64;
        let (wait, holder) = found(
            |stand| {
                let guard = lock.1.write();
                stand();
                drop(guard);
            },
            || drop(lock.1.read()),
        );
        assert_eq!((wait.kind, wait.address), (LockKind::ParkingLotRwLock, address));
        assert!(holder.is_some(), "the writer");
        let (wait, holder) = found(
            |stand| {
                let guard = lock.1.read();
                stand();
                drop(guard);
            },
            || drop(lock.1.write()),
        );
        assert_eq!((wait.kind, wait.address), (LockKind::ParkingLotRwLock, address));
        assert!(holder.is_some(), "the reader");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn mutexes_of_the_c_library_know_their_owner() {
        struct Shared(UnsafeCell<libc::pthread_mutex_t>);
        // SAFETY: a mutex is made to be used by several threads.
        unsafe impl Sync for Shared {}
        let mutex = Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        let mutex = &mutex;
        // SAFETY: it was initialized, is not moved, and is unlocked by who has locked it.
        let (lock, unlock) = (
            || unsafe { libc::pthread_mutex_lock(mutex.0.get()) },
            || unsafe { libc::pthread_mutex_unlock(mutex.0.get()) },
        );
        let (wait, _) = found(
            |stand| {
                lock();
                stand();
                unlock();
            },
            || {
                lock();
                unlock();
            },
        );
        assert_eq!(wait.kind, LockKind::PthreadMutex);
        assert_eq!(wait.owner(), None, "nobody holds it any more");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn code_that_releases_a_lock_holds_it_no_more() {
        // At 0x1000: lock cmpxchg [rip + 0xff0], ecx, 7 bytes and a prefix; the lock is at 0x1ff8.
        let take = [0xf0, 0x0f, 0xb1, 0x0d, 0xf0, 0x0f, 0, 0];
        assert_eq!(last_use(&take, 0x1000, 0x1ff8), Some(Use::Takes));
        // xchg [rip + 0xfea], ecx, at 0x1008
        let release = [0x87, 0x0d, 0xea, 0x0f, 0, 0];
        let both = [&take[..], &release].concat();
        assert_eq!(last_use(&both, 0x1000, 0x1ff8), Some(Use::Releases));
        assert_eq!(last_use(&both, 0x1000, 0x2000), None);
        // mov al, 1; xor ecx, ecx; lock cmpxchg [rip + 0xff0], cl
        let release = [0xb0, 1, 0x31, 0xc9, 0xf0, 0x0f, 0xb0, 0x0d, 0xf0, 0x0f, 0, 0];
        assert_eq!(last_use(&release, 0x1000, 0x1ffc), Some(Use::Releases));
    }

    #[test]
    fn functions_that_wait_for_locks_are_known_in_both_manglings() {
        let kind = |symbol| Waits::of(symbol).map(|waits| waits.kind);
        for (symbol, expected) in [
            (
                "_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0123456789abcdefE",
                LockKind::StdMutex,
            ),
            (
                "_RNvMNtNtNtNtCs1_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended",
                LockKind::StdMutex,
            ),
            (
                "_RNvMNtNtNtNtCs1_3std3sys4sync6rwlock5futexNtB2_6RwLock15write_contended",
                LockKind::StdRwLock,
            ),
            (
                "_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h0123456789abcdefE",
                LockKind::ParkingLotMutex,
            ),
            (
                "_ZN11parking_lot10raw_rwlock9RawRwLock19lock_exclusive_slow17h01234567E",
                LockKind::ParkingLotRwLock,
            ),
            ("pthread_mutex_lock", LockKind::PthreadMutex),
        ] {
            assert_eq!(kind(symbol), Some(expected), "{symbol}");
        }
        assert_eq!(kind("_ZN11parking_lot9raw_mutex8RawMutex11unlock_slow17h0123E"), None);
    }
}
