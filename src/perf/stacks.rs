//! What perf recorded, as a profile of ours: same threads, same names, same unit.

use std::{
    io::BufRead,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use inferno::collapse::{
    Collapse as _,
    perf::{Folder, Options},
};
use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};

use super::record::Record;
use crate::capture::unfold;

/// Ends the names of functions of the kernel.
pub(super) const KERNEL: &str = "_[k]";

/// Reads what `perf script` prints.
pub(super) fn profile(
    script: impl BufRead,
    start: SystemTime,
    Record { seconds, frequency }: Record,
) -> anyhow::Result<Profile> {
    let mut options = Options::default();
    options.annotate_kernel = true;
    let mut folded = Vec::new();
    let collapsed = Folder::from(options).collapse(script, &mut folded);
    collapsed.context("cannot read what perf script prints")?;
    let period = Duration::from_secs(1) / frequency;
    let period = i64::try_from(period.as_nanos()).unwrap_or(i64::MAX);
    let unfolded = unfold(&folded)?;
    let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
    Ok(Profile {
        samples: unfolded.samples.into_iter().map(|sample| read(sample, period)).collect(),
        values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
        start,
        duration: Duration::from_secs(seconds),
        period: Some((cpu, period)),
        dropped: 0,
    })
}

/// The lowest frame is the thread's name; each sample stands for a period.
fn read(mut sample: Sample, period: i64) -> Sample {
    let thread = sample.stack.pop();
    let name = |location: &Arc<Location>| location.frames.first().map(|frame| frame.name.clone());
    let thread = thread.as_ref().and_then(name).unwrap_or_default();
    let count = sample.weight();
    Sample {
        stack: sample.stack.iter().map(readable).collect(),
        values: vec![count, count.saturating_mul(period)],
        labels: vec![("thread", thread)],
    }
}

fn readable(location: &Arc<Location>) -> Arc<Location> {
    let frame = |frame: &Arc<Frame>| {
        // A version that the linker has put there is no part of the name.
        let linkage = frame.name.split_once('@').map_or(frame.name.as_str(), |(name, _)| name);
        let name = format!("{:#}", rustc_demangle::demangle(linkage));
        Arc::new(Frame { name, linkage: linkage.to_owned(), ..Frame::named("") })
    };
    Arc::new(Location {
        address: 0,
        mapping: None,
        frames: location.frames.iter().map(frame).collect(),
    })
}

#[cfg(test)]
mod tests {
    use thermograph_profile::folded;

    use super::*;

    /// As `perf script --no-inline --no-demangle` prints these fields.
    const SCRIPT: &str = "\
engine-cpu-0  4711/4712    400.977812: cpu-clock: \n\
\t    55c2143ab530 _RNvCs1234_7mycrate3hot (/srv/app)\n\
\t    55c2143ab531 _RNvCs1234_7mycrate4main (/srv/app)\n\
\n\
engine-cpu-1  4711/4713    400.987812: cpu-clock: \n\
\tffffffff8103ce3b native_safe_halt ([kernel.kallsyms])\n\
\t           98f66 cfree@GLIBC_2.2.5 (/usr/lib/x86_64-linux-gnu/libc.so.6)\n\
\t    55c2143ab531 _RNvCs1234_7mycrate4main (/srv/app)\n\
\n\
engine-cpu-1  4711/4713    400.997812: cpu-clock: \n\
\t           98f66 [unknown] (/usr/lib/x86_64-linux-gnu/libc.so.6)\n\
\n";

    #[test]
    fn a_sample_of_perf_is_a_sample_of_ours() {
        let record = Record { seconds: 2, frequency: 100 };
        let profile = profile(SCRIPT.as_bytes(), SystemTime::now(), record).expect("read");
        assert_eq!(profile.count(), (3, "samples"));
        assert_eq!(
            folded::fold(&profile),
            "engine-cpu;[libc.so.6] 10000000\n\
             engine-cpu;mycrate::main;cfree;native_safe_halt_[k] 10000000\n\
             engine-cpu;mycrate::main;mycrate::hot 10000000\n"
        );
        assert_eq!(profile.period.map(|(_, period)| period), Some(10_000_000));
    }
}
