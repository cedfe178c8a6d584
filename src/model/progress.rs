//! What a person sees while a pull runs.
//!
//! On a terminal a spinner or a bar, which leaves one line when it is done; elsewhere, as in CI, a
//! line when a step starts and one when it is done. All on stderr: stdout is for the result.

use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

/// Something that takes a while.
pub(super) struct Step {
    bar: ProgressBar,
    what: String,
    started: Instant,
}

/// A line for whoever watches.
pub(super) fn note(line: &str) {
    anstream::eprintln!("{line}");
}

impl Step {
    /// A step of which only the end will be known.
    pub(super) fn start(what: String) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::shown(bar, what)
    }

    /// A step of a known number of bytes, `done` of which were there before.
    pub(super) fn bytes(what: String, total: Option<u64>, done: u64) -> Self {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let style = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        // `reset_eta`: the rate is that of this transfer alone.
        bar.set_position(done);
        bar.reset_eta();
        Self::shown(bar, what)
    }

    fn shown(bar: ProgressBar, what: String) -> Self {
        bar.set_message(what.clone());
        if bar.is_hidden() {
            note(&what);
        }
        Self { bar, what, started: Instant::now() }
    }

    /// So many bytes more.
    pub(super) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Ends the step well; one that is dropped instead only disappears.
    pub(super) fn done(self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let size = match self.bar.position() {
            0 => String::new(),
            bytes => format!(", {}", BinaryBytes(bytes)),
        };
        self.bar.finish_and_clear();
        note(&format!("{}: done in {seconds:.1} s{size}", self.what));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
