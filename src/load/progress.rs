//! A progress bar with the rate and the errors; hidden where stderr is no terminal.

use std::{
    convert::Infallible,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time;

use super::{Counts, Limit, Plan};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// The bar of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    limit: Limit,
    warmup: Duration,
}

impl Progress {
    pub(crate) fn new(plan: &Plan, doing: &'static str) -> Self {
        let length = match plan.limit {
            Limit::Requests(requests) => requests,
            Limit::Time(time) => millis(time),
        };
        // indicatif draws to stderr, and only to a terminal.
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(doing);
        Self { bar, limit: plan.limit, warmup: plan.warmup }
    }

    /// Draws the counts until it is dropped.
    pub(crate) async fn follow(&self, counts: &Counts) -> Infallible {
        let start = Instant::now();
        let mut ticks = time::interval(TICK);
        let mut last = 0;
        loop {
            ticks.tick().await;
            let (done, failed) = (counts.done.load(Relaxed), counts.failed.load(Relaxed));
            // Counting begins anew after the warm-up.
            let rate = done.saturating_sub(last) as f64 / TICK.as_secs_f64();
            last = done;
            let warming = if start.elapsed() < self.warmup { "warming up, " } else { "" };
            let measured = start.elapsed().saturating_sub(self.warmup);
            self.bar.set_position(match self.limit {
                Limit::Requests(_) if !warming.is_empty() => 0,
                Limit::Requests(_) => done,
                Limit::Time(_) => millis(measured),
            });
            self.bar.set_message(format!("{warming}{rate:.0} req/s, {failed} errors"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
