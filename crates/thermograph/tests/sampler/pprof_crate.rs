//! The `pprof` crate's own engine at the same work: what it makes of it is written down, for the
//! choice of engine. It stands in where the sampler cannot be.

use std::time::Duration;

use pprof::ProfilerGuard;

use crate::{
    app::alone,
    totals::{Burner, is_leaf},
};

#[test]
fn the_pprof_crate_s_engine_at_the_same_work() {
    let _alone = alone();
    for (frequency, threads) in [(99, 1), (99, 2), (499, 1), (499, 2), (999, 1), (999, 2)] {
        let burners: Vec<_> = (0..threads).map(Burner::start).collect();
        let guard = ProfilerGuard::new(frequency).expect("started");
        burners.iter().for_each(Burner::go);
        let used: Duration = burners.into_iter().map(|burner| burner.join().0).sum();
        let report = guard.report().build().expect("a report");
        let (mut count, mut leaves) = (0, 0);
        for (frames, samples) in &report.data {
            if !frames.thread_name.starts_with("burner-") {
                continue;
            }
            count += samples;
            let names = frames.frames.iter().flatten().map(pprof::Symbol::name).collect::<Vec<_>>();
            leaves += if is_leaf(&names) { *samples } else { 0 };
        }
        let share = count as f64 / f64::from(frequency) / used.as_secs_f64();
        println!(
            "pprof crate, {frequency} Hz, {threads} busy: {count} samples, {share:.4} of what \
             getrusage says; leaf in {:.4}",
            leaves as f64 / count as f64
        );
        assert!(count > 0);
    }
}
