//! The processor time of a page fault, to tell work on memory from memory itself.

use std::{sync::OnceLock, time::Duration};

use memmap2::MmapMut;

use super::procfs::Thread;

/// The processor time that so many page faults take at least; `None` if it cannot be measured.
///
/// The time of one page fault differs between machines, from 0.2 µs to 2 µs in some virtual ones. The
/// process measures that time once, in less than a millisecond.
pub fn time_of(faults: u64) -> Option<Duration> {
    static ONE: OnceLock<Option<Duration>> = OnceLock::new();
    /// The shortest counts: all else that the machine does adds to it.
    const TRIES: u32 = 4;
    let one = ONE.get_or_init(|| (0..TRIES).filter_map(|_| measure()).min());
    let nanoseconds = one.as_ref()?.as_nanos() * u128::from(faults);
    Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
}

/// Touches new pages.
fn measure() -> Option<Duration> {
    /// Too few to be one huge page.
    const PAGES: usize = 64;
    let this = Thread::current();
    let page = rustix::param::page_size();
    let mut memory = MmapMut::map_anon(PAGES * page).ok()?;
    let (faults, time) = (this.page_faults()?, this.cpu_time()?);
    for byte in memory.iter_mut().step_by(page) {
        *byte = 1;
    }
    let time = this.cpu_time()?.saturating_sub(time);
    let faults = this.page_faults()?.saturating_sub(faults);
    time.checked_div(u32::try_from(faults).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_faults_take_time_in_proportion() {
        let thousand = time_of(1000).expect("measured");
        assert!(thousand > Duration::from_micros(20), "{thousand:?}");
        assert!(thousand < Duration::from_millis(100), "{thousand:?}");
        assert_eq!(time_of(2000), Some(thousand * 2));
    }
}
