//! A capture in every form that it is kept in.

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
    pub folded: String,
    pub svg: Vec<u8>,
}

impl Forms {
    /// Makes all of them: not for a worker.
    pub fn of(profile: &Profile, caption: &Caption) -> std::io::Result<Self> {
        Ok(Self {
            pprof: pprof::encode(profile)?,
            folded: folded::fold(profile),
            svg: flamegraph::draw(profile, caption)?,
        })
    }

    pub fn each(&self) -> [(Form, &[u8]); 3] {
        let Self { pprof, folded, svg } = self;
        [(Form::Pprof, pprof), (Form::Folded, folded.as_bytes()), (Form::Svg, svg)]
    }
}
