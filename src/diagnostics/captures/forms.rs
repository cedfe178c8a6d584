//! A capture in every form that it is kept in.

use super::Form;
use crate::diagnostics::{
    Profile,
    flamegraph::{self, Caption},
    folded, pprof,
};

/// A capture in every form that it is kept in.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    /// Gzipped `profile.proto`.
    pub(crate) pprof: Vec<u8>,
    pub(crate) folded: String,
    pub(crate) svg: Vec<u8>,
}

impl Forms {
    /// Makes all of them: not for a worker.
    pub(crate) fn of(profile: &Profile, caption: &Caption) -> std::io::Result<Self> {
        Ok(Self {
            pprof: pprof::encode(profile)?,
            folded: folded::fold(profile),
            svg: flamegraph::draw(profile, caption)?,
        })
    }

    pub(crate) fn each(&self) -> [(Form, &[u8]); 3] {
        let Self { pprof, folded, svg } = self;
        [(Form::Pprof, pprof), (Form::Folded, folded.as_bytes()), (Form::Svg, svg)]
    }
}
