//! A profile as gzipped `profile.proto`, which `go tool pprof` and Pyroscope read.
//!
//! The wire model is that of the `pprof` crate. Its own encoder merges the lines of a function
//! and keeps no labels, so the encoding is ours.

use std::{collections::HashMap, hash::Hash, io::Write as _, sync::Arc, time::UNIX_EPOCH};

use flate2::{Compression, write::GzEncoder};
use pprof::protos::{self, Message as _};

use super::profile::{Frame, Profile, Sample, ValueType};

/// Begins the comment that says how many samples were dropped; there is none where none were.
pub(crate) const DROPPED: &str = "dropped samples: ";

/// Encodes and compresses.
pub(crate) fn encode(profile: &Profile) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&Encoder::default().profile(profile).encode_to_vec())?;
    gzip.finish()
}

#[derive(Default)]
struct Encoder<'a> {
    strings: Interned<String>,
    functions: Interned<(&'a str, &'a str)>,
    locations: Interned<Arc<Frame>>,
    function: Vec<protos::Function>,
    location: Vec<protos::Location>,
}

impl<'a> Encoder<'a> {
    fn profile(mut self, profile: &'a Profile) -> protos::Profile {
        // The format wants the empty string at 0.
        self.string("");
        let sample_type = profile.values.iter().map(|value| self.value_type(*value)).collect();
        let sample = profile.samples.iter().map(|sample| self.sample(sample)).collect();
        let period_type = profile.period.map(|(value, _)| self.value_type(value));
        let dropped = (profile.dropped > 0).then(|| format!("{DROPPED}{}", profile.dropped));
        let comment = dropped.iter().map(|dropped| self.string(dropped)).collect();
        let since_epoch = profile.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        protos::Profile {
            sample_type,
            sample,
            period_type,
            comment,
            period: profile.period.map_or(0, |(_, period)| period),
            time_nanos: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
            duration_nanos: i64::try_from(profile.duration.as_nanos()).unwrap_or(i64::MAX),
            location: self.location,
            function: self.function,
            string_table: self.strings.values,
            ..protos::Profile::default()
        }
    }

    fn sample(&mut self, sample: &'a Sample) -> protos::Sample {
        let location_id = sample.stack.iter().map(|frame| self.location(frame)).collect();
        let label = sample.labels.iter().map(|(key, value)| protos::Label {
            key: self.string(key),
            str: self.string(value),
            ..protos::Label::default()
        });
        let label = label.collect();
        protos::Sample { location_id, value: sample.values.clone(), label }
    }

    fn location(&mut self, frame: &'a Arc<Frame>) -> u64 {
        let (index, new) = self.locations.index(frame.clone());
        // Ids start at 1: 0 means none.
        let id = index as u64 + 1;
        if new {
            let function_id = self.function(frame);
            let line = protos::Line { function_id, line: i64::from(frame.line) };
            let location = protos::Location { id, line: vec![line], ..Default::default() };
            self.location.push(location);
        }
        id
    }

    fn function(&mut self, frame: &'a Frame) -> u64 {
        let (index, new) = self.functions.index((&frame.name, &frame.file));
        let id = index as u64 + 1;
        if new {
            let function = protos::Function {
                id,
                name: self.string(&frame.name),
                system_name: self.string(&frame.linkage),
                filename: self.string(&frame.file),
                start_line: 0,
            };
            self.function.push(function);
        }
        id
    }

    fn value_type(&mut self, value: ValueType) -> protos::ValueType {
        protos::ValueType { ty: self.string(value.kind), unit: self.string(value.unit) }
    }

    fn string(&mut self, string: &str) -> i64 {
        i64::try_from(self.strings.index(string.to_owned()).0).unwrap_or(i64::MAX)
    }
}

/// Values in the order they came, each once.
struct Interned<T> {
    indices: HashMap<T, usize>,
    values: Vec<T>,
}

impl<T: Clone + Eq + Hash> Interned<T> {
    /// The value's index, and whether it is new.
    fn index(&mut self, value: T) -> (usize, bool) {
        if let Some(index) = self.indices.get(&value) {
            return (*index, false);
        }
        let index = self.values.len();
        self.values.push(value.clone());
        self.indices.insert(value, index);
        (index, true)
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { indices: HashMap::new(), values: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::SystemTime};

    use super::*;

    #[test]
    fn what_is_encoded_can_be_read_back() {
        let frame = |name: &str, line| {
            let (linkage, file) = (name.to_owned(), "a.rs".to_owned());
            Arc::new(Frame { name: name.to_owned(), linkage, file, line })
        };
        let sample = |leaf: &Arc<Frame>| Sample {
            stack: vec![leaf.clone(), frame("main", 1)],
            values: vec![2, 20],
            labels: vec![("thread", "worker".to_owned())],
        };
        let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
        let profile = Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
            samples: vec![sample(&frame("hot", 7)), sample(&frame("hot", 8))],
            start: SystemTime::now(),
            duration: std::time::Duration::from_secs(1),
            period: Some((cpu, 10)),
            dropped: 3,
        };
        let gzipped = encode(&profile).expect("encodes");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*gzipped).read_to_end(&mut bytes).expect("gzip");
        let read = protos::Profile::decode(&*bytes).expect("decodes");

        let text = |index: i64| read.string_table[index as usize].as_str();
        assert_eq!(text(0), "");
        assert_eq!(read.function.len(), 2, "one function for both lines of `hot`");
        assert_eq!(read.location.len(), 3);
        assert_eq!(read.sample[0].location_id, [1, 2]);
        assert_eq!(read.sample[1].location_id, [3, 2]);
        assert_eq!(text(read.sample[0].label[0].key), "thread");
        assert_eq!(text(read.sample[0].label[0].str), "worker");
        assert_eq!(text(read.sample_type[1].ty), "cpu");
        assert_eq!((read.period, read.duration_nanos), (10, 1_000_000_000));
        assert_eq!(text(read.comment[0]), "dropped samples: 3");
    }
}
