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
    /// Time in spans of the program's own choice.
    Spans,
}

/// How long to capture, and how finely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: u64,
    /// Samples a second of CPU time.
    pub(crate) frequency: u32,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Spans => "spans",
        }
    }

    /// Captures for as long as the window is.
    pub(crate) fn capture(self, client: &Client, window: Window) -> anyhow::Result<Files> {
        let Window { seconds, frequency } = window;
        let path = match self {
            Self::Cpu => format!("/debug/pprof/profile?seconds={seconds}&frequency={frequency}"),
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
            Self::Spans => Caption::spans(seconds),
        }
    }
}
