//! Profiles of memory as clients see them.

use std::io::Read as _;

use flate2::read::GzDecoder;
use pprof::protos::{self, Message as _};

/// A profile as it came over the wire.
pub(crate) struct Wire(protos::Profile);

impl Wire {
    pub(crate) fn decode(gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).expect("gzipped");
        Self(protos::Profile::decode(&*bytes).expect("a profile"))
    }

    /// When it was taken.
    pub(crate) fn time_nanos(&self) -> u64 {
        u64::try_from(self.0.time_nanos).expect("after 1970")
    }

    /// Kinds of values and their units.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let kinds = self.0.sample_type.iter();
        kinds.map(|kind| format!("{}/{}", self.text(kind.ty), self.text(kind.unit))).collect()
    }

    /// The sum of a kind of value over the samples in which a function stands and, where they have
    /// one, whose route is this.
    pub(crate) fn sum(&self, kind: &str, function: &str, route: &str) -> i64 {
        let place = self.kinds().iter().position(|there| there.starts_with(kind));
        let place = place.expect("a kind of value");
        let samples = self.0.sample.iter().filter(|sample| {
            let of_route = self.label(sample, "route") == Some(route);
            of_route && self.functions(sample).iter().any(|name| name.ends_with(function))
        });
        samples.map(|sample| sample.value[place]).sum()
    }

    /// Routes of all samples.
    pub(crate) fn routes(&self) -> Vec<Option<&str>> {
        self.0.sample.iter().map(|sample| self.label(sample, "route")).collect()
    }

    fn label(&self, sample: &protos::Sample, name: &str) -> Option<&str> {
        let label = sample.label.iter().find(|label| self.text(label.key) == name)?;
        Some(self.text(label.str))
    }

    fn functions(&self, sample: &protos::Sample) -> Vec<&str> {
        let location = |id: &u64| self.0.location.iter().find(|location| location.id == *id);
        let locations = sample.location_id.iter().filter_map(location);
        let lines = locations.flat_map(|location| &location.line);
        let function = |line: &protos::Line| {
            self.0.function.iter().find(|function| function.id == line.function_id)
        };
        lines.filter_map(function).map(|function| self.text(function.name)).collect()
    }

    fn text(&self, index: i64) -> &str {
        &self.0.string_table[usize::try_from(index).expect("an index")]
    }
}
