//! The forms of a capture that are made of its profile.

use super::Form;
use crate::{
    Profile,
    flamegraph::{self, Caption},
    folded, pprof,
};

/// A capture in every form that it is kept in.
#[derive(Clone, Debug)]
pub struct Forms {
    /// Gzipped `profile.proto`.
    pub pprof: Vec<u8>,
    /// Folded stacks, one a line.
    pub folded: String,
    /// Flame graph as SVG.
    pub svg: Vec<u8>,
}

impl Forms {
    /// Makes every form of a profile; computes for long: not for a worker of a runtime.
    pub fn of(profile: &Profile, caption: &Caption) -> std::io::Result<Self> {
        Ok(Self {
            pprof: pprof::encode(profile)?,
            folded: folded::fold(profile),
            svg: flamegraph::draw(profile, caption)?,
        })
    }

    /// The bytes of every form, for [`Folder::save`](super::Folder::save).
    pub fn each(&self) -> [(Form, &[u8]); 3] {
        let Self { pprof, folded, svg } = self;
        [(Form::Pprof, pprof), (Form::Folded, folded.as_bytes()), (Form::Svg, svg)]
    }
}
