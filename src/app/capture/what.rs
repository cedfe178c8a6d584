//! What can be captured, and how it is asked for.

use std::time::Duration;

use super::{decode, files::Files};
use crate::{
    app::client::Client,
    diagnostics::{
        flamegraph::{self, Caption},
        folded,
    },
};

/// What to capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum What {
    /// CPU time, by stack.
    Cpu,
    /// Wall-clock time of threads in polls, by stack: on a processor and off.
    Wall,
    /// Polls over the threshold, by where they stood.
    Stalls,
    /// Memory that was allocated in the window and still lives, by stack.
    Heap,
    /// Memory that was allocated in the window, freed or not, by stack.
    Allocs,
    /// Time in spans of the program's own choice.
    Spans,
}

/// How long to capture, and how finely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: u64,
    /// Samples a second of CPU time, or of wall-clock time.
    pub(crate) frequency: u32,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Stalls => "stalls",
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Spans => "spans",
        }
    }

    /// Captures for as long as the window is.
    pub(crate) fn capture(self, client: &Client, window: Window) -> anyhow::Result<Files> {
        let Window { seconds, frequency } = window;
        let path = match self {
            Self::Cpu => format!("/debug/pprof/profile?seconds={seconds}&frequency={frequency}"),
            Self::Wall => format!("/debug/fgprof?seconds={seconds}&frequency={frequency}"),
            Self::Stalls => format!("/debug/pprof/block?seconds={seconds}"),
            Self::Heap | Self::Allocs => format!("/debug/pprof/{}?seconds={seconds}", self.name()),
            Self::Spans => format!("/debug/spans?seconds={seconds}&format=pprof"),
        };
        let pprof = client.get(&path, Duration::from_secs(seconds))?;
        let profile = decode::decode(&pprof)?;
        let folded = folded::fold(&profile);
        let svg = flamegraph::draw(&profile, &self.caption(window))?;
        Ok(Files { pprof, folded, svg })
    }

    fn caption(self, Window { seconds, frequency }: Window) -> Caption {
        match self {
            Self::Cpu => Caption::cpu(seconds, frequency),
            Self::Wall => Caption::wall(seconds, frequency),
            Self::Stalls => Caption::stalls(Some(seconds)),
            Self::Heap => Caption::memory(true, Some(seconds)),
            Self::Allocs => Caption::memory(false, Some(seconds)),
            Self::Spans => Caption::spans(seconds),
        }
    }
}
