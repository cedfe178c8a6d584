//! What can be captured, and how it is asked for.

use std::time::Duration;

use thermograph_profile::{
    captures::{Forms, Kind, decode},
    flamegraph,
    flamegraph::Caption,
    folded,
};

use super::Captured;
use crate::client::{Client, escaped};

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
        self.kind().name()
    }

    /// What it is in the name of a capture.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Cpu => Kind::Cpu,
            Self::Wall => Kind::Wall,
            Self::Stalls => Kind::Stalls,
            Self::Heap => Kind::Heap,
            Self::Allocs => Kind::Allocs,
            Self::Spans => Kind::Spans,
        }
    }

    /// Captures for as long as the window is, everything or what is done for one `route`.
    pub(crate) fn capture(
        self,
        client: &Client,
        window: Window,
        route: Option<&str>,
    ) -> anyhow::Result<Captured> {
        let Window { seconds, frequency } = window;
        let mut path = match self {
            Self::Cpu => format!("/debug/pprof/profile?seconds={seconds}&frequency={frequency}"),
            Self::Wall => format!("/debug/fgprof?seconds={seconds}&frequency={frequency}"),
            Self::Stalls => format!("/debug/pprof/block?seconds={seconds}"),
            Self::Heap | Self::Allocs => format!("/debug/pprof/{}?seconds={seconds}", self.name()),
            Self::Spans => format!("/debug/spans?seconds={seconds}&format=pprof"),
        };
        if let Some(route) = route {
            path = format!("{path}&route={}", escaped(route));
        }
        let pprof = client.get(&path, Duration::from_secs(seconds))?;
        let profile = decode(&pprof)?;
        let handler = route.map(|route| profile.handler(route));
        let folded = folded::fold(&profile);
        let svg = flamegraph::draw(&profile, &self.caption().of(handler.as_deref()))?;
        Ok(Captured { what: self, profile, forms: Forms { pprof, folded, svg }, handler })
    }

    fn caption(self) -> Caption {
        match self {
            Self::Cpu => Caption::cpu(),
            Self::Wall => Caption::wall(),
            Self::Stalls => Caption::stalls(),
            Self::Heap => Caption::heap(),
            Self::Allocs => Caption::allocs(),
            Self::Spans => Caption::spans(),
        }
    }
}
