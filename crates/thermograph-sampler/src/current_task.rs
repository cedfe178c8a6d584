//! The number of the task that another thread polls, read from Tokio's own memory.
//!
//! Tokio keeps it in the program's thread-local storage, which lies at the same distance from every
//! thread's thread pointer. The distance is not known beforehand: it is found by a search, within
//! tasks that know their number (`tokio::task::id`). If not exactly one place has it in all of them,
//! there is no such place, as in a program whose Tokio is in a shared library.

use std::ops::Range;

use super::{handler::thread_pointer, waiting::read};

/// Distance of the number's place from the thread pointer, in bytes, as a wrapping sum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TaskPlace(u64);

/// Where this thread's own storage is.
pub fn storage() -> u64 {
    thread_pointer()
}

/// Places of this thread's own storage that hold a number.
pub fn places_of(number: u64) -> Vec<TaskPlace> {
    let pointer = thread_pointer();
    let range = of_program(pointer);
    let length = usize::try_from(range.end - range.start).unwrap_or(0);
    let bytes = read(range.start, length);
    let words = bytes.as_chunks::<8>().0.iter().enumerate();
    let same = words.filter(|(_, word)| u64::from_ne_bytes(**word) == number);
    same.map(|(word, _)| TaskPlace((range.start + 8 * word as u64).wrapping_sub(pointer))).collect()
}

/// The number of the task that the thread with this storage polls; 0 where it polls none.
pub fn task_at(storage: u64, place: TaskPlace) -> Option<u64> {
    let bytes = read(storage.wrapping_add(place.0), 8);
    Some(u64::from_ne_bytes(*bytes.first_chunk()?))
}

/// The thread-local storage of the program itself, for a thread with this pointer: below it on
/// x86-64, and two words above it on ARM64 (Drepper, "ELF Handling For Thread-Local Storage",
/// variants II and I).
fn of_program(pointer: u64) -> Range<u64> {
    let (size, align) = segment();
    if cfg!(target_arch = "x86_64") {
        let size = size.next_multiple_of(align);
        pointer - size..pointer
    } else {
        let start = pointer + 16_u64.next_multiple_of(align);
        start..start + size / 8 * 8
    }
}

/// Size and alignment of the program's `PT_TLS` segment; 0 and 1 if it has none.
fn segment() -> (u64, u64) {
    /// The first object is the program.
    unsafe extern "C" fn program(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        found: *mut libc::c_void,
    ) -> i32 {
        // SAFETY: the C library calls with an object's headers and with what was given to it, a pair
        // on the stack of the caller.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<(u64, u64)>()) };
        // SAFETY: so many headers are there.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        if let Some(header) = headers.iter().find(|header| header.p_type == libc::PT_TLS) {
            *found = (header.p_memsz, header.p_align.max(1));
        }
        1
    }
    let mut found = (0_u64, 1_u64);
    // SAFETY: the function takes a pointer to a pair, which lives as long as the call.
    unsafe { libc::dl_iterate_phdr(Some(program), (&raw mut found).cast()) };
    found
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn task_of_another_thread_is_read_at_the_place_that_all_tasks_share() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        let runtime = runtime.expect("a runtime");
        let number = || tokio::task::id().to_string().parse::<u64>().expect("a number");
        let mut places: Option<Vec<TaskPlace>> = None;
        for _ in 0..32 {
            let task = runtime.spawn(async move { places_of(number()) });
            let found = runtime.block_on(task).expect("no panic");
            places = Some(match places {
                None => found,
                Some(before) => before.into_iter().filter(|at| found.contains(at)).collect(),
            });
        }
        let [place] = places.expect("searched")[..] else { panic!("not one place") };

        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let task = runtime.spawn(async move {
            tell.send((storage(), number())).expect("told");
            let _ = released.recv();
        });
        let (storage, number) = told.recv().expect("told");
        assert_eq!(task_at(storage, place), Some(number));
        release.send(()).expect("released");
        runtime.block_on(task).expect("no panic");
    }
}
