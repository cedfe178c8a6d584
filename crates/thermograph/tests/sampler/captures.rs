//! Captures as clients see them.

use std::io::Read as _;

use flate2::read::GzDecoder;
use pprof::protos::{self, Message as _};

/// A profile as it came over the wire.
pub(crate) struct Wire(pub(crate) protos::Profile);

/// One of its samples, with names.
pub(crate) struct Sample {
    /// Function names, the leaf first.
    pub(crate) stack: Vec<String>,
    pub(crate) count: i64,
    pub(crate) value: i64,
    labels: Vec<(String, String)>,
}

impl Wire {
    pub(crate) fn decode(gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).expect("gzipped");
        Self(protos::Profile::decode(&*bytes).expect("a profile"))
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.0.sample.iter().map(|sample| self.sample(sample)).collect()
    }

    fn sample(&self, sample: &protos::Sample) -> Sample {
        let label = |label: &protos::Label| (self.text(label.key), self.text(label.str));
        let location = |id: &u64| self.0.location.iter().find(|location| location.id == *id);
        let lines =
            sample.location_id.iter().filter_map(location).flat_map(|location| &location.line);
        let function = |line: &protos::Line| {
            let function = self.0.function.iter().find(|function| function.id == line.function_id);
            self.text(function.expect("a function").name)
        };
        Sample {
            stack: lines.map(function).collect(),
            count: sample.value[0],
            value: sample.value[1],
            labels: sample.label.iter().map(label).collect(),
        }
    }

    fn text(&self, index: i64) -> String {
        self.0.string_table[usize::try_from(index).expect("an index")].clone()
    }
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        let label = self.labels.iter().find(|(label, _)| label == name);
        label.map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, function: &str) -> bool {
        self.stack.iter().any(|name| name.ends_with(function))
    }
}
