//! A profile as gzipped `profile.proto`, which `go tool pprof` and Pyroscope read.
//!
//! The wire model is that of the `pprof` crate. Its own encoder merges the lines of a function
//! and keeps no labels, so the encoding is ours.

use std::{
    borrow::Cow, collections::HashMap, hash::Hash, io::Write as _, sync::Arc, time::UNIX_EPOCH,
};

use flate2::{Compression, write::GzEncoder};
use pprof::protos::{self, Message as _};

use super::profile::{Frame, Location, Mapping, Profile, Sample, ValueType};

/// Prefix of the comment with the number of samples that were dropped; the comment is left out if it
/// is 0.
pub(crate) const DROPPED: &str = "dropped samples: ";

/// Encodes a profile as `profile.proto` and compresses it with gzip.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use thermograph_profile::{Frame, Location, Profile, Sample, ValueType, captures, pprof};
///
/// let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
/// let profile = Profile {
///     values: vec![cpu],
///     samples: vec![Sample {
///         stack: vec![Arc::new(Location::named(Frame::named("app::hot")))],
///         values: vec![10_000_000],
///         labels: vec![("thread", "worker-1".to_owned())],
///     }],
///     start: SystemTime::now(),
///     duration: Duration::from_secs(1),
///     period: Some((cpu, 10_000_000)),
///     dropped: 0,
/// };
/// let gzipped = pprof::encode(&profile)?;
/// assert_eq!(captures::decode(&gzipped)?.samples, profile.samples);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode(profile: &Profile) -> std::io::Result<Vec<u8>> {
    encode_with(profile, None)
}

/// Encodes and compresses a profile as [`encode`] does, with a comment that `go tool pprof -comments`
/// shows.
pub fn encode_with(profile: &Profile, comment: Option<&str>) -> std::io::Result<Vec<u8>> {
    let mut encoder = Encoder::default();
    // The format wants the empty string at 0.
    encoder.string("");
    let comment = comment.map(|comment| encoder.string(comment));
    let mut wire = encoder.profile(profile);
    wire.comment.extend(comment);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&wire.encode_to_vec())?;
    gzip.finish()
}

#[derive(Default)]
struct Encoder<'a> {
    strings: Interned<Cow<'a, str>>,
    functions: Interned<(&'a str, &'a str)>,
    mappings: Interned<&'a Mapping>,
    locations: Interned<&'a Location>,
    /// Ids of locations by where they are in memory: most are shared by many samples, and are
    /// not looked into again.
    seen: HashMap<*const Location, u64>,
    function: Vec<protos::Function>,
    mapping: Vec<protos::Mapping>,
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
        let comment = dropped.into_iter().map(|dropped| self.string(dropped)).collect();
        let since_epoch = profile.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        // The format wants the program first: it is mapped below its libraries.
        self.mapping.sort_by_key(|mapping| mapping.memory_start);
        protos::Profile {
            sample_type,
            sample,
            period_type,
            comment,
            period: profile.period.map_or(0, |(_, period)| period),
            time_nanos: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
            duration_nanos: i64::try_from(profile.duration.as_nanos()).unwrap_or(i64::MAX),
            mapping: self.mapping,
            location: self.location,
            function: self.function,
            string_table: self.strings.values.into_iter().map(Cow::into_owned).collect(),
            ..protos::Profile::default()
        }
    }

    fn sample(&mut self, sample: &'a Sample) -> protos::Sample {
        let location_id = sample.stack.iter().map(|location| self.location(location)).collect();
        let label = sample.labels.iter().map(|(key, value)| protos::Label {
            key: self.string(*key),
            str: self.string(value),
            ..protos::Label::default()
        });
        let label = label.collect();
        protos::Sample { location_id, value: sample.values.clone(), label }
    }

    fn location(&mut self, location: &'a Arc<Location>) -> u64 {
        if let Some(id) = self.seen.get(&Arc::as_ptr(location)) {
            return *id;
        }
        let (index, new) = self.locations.index(location);
        // Ids start at 1: 0 means none.
        let id = index as u64 + 1;
        if new {
            let line = location.frames.iter().map(|frame| protos::Line {
                function_id: self.function(frame),
                line: i64::from(frame.line),
            });
            let location = protos::Location {
                id,
                line: line.collect(),
                mapping_id: self.mapping(location),
                address: location.address,
                is_folded: false,
            };
            self.location.push(location);
        }
        self.seen.insert(Arc::as_ptr(location), id);
        id
    }

    /// The id of a location's mapping, which is said to have what some location in it has.
    fn mapping(&mut self, location: &'a Location) -> u64 {
        let Some(mapping) = &location.mapping else { return 0 };
        let (index, new) = self.mappings.index(mapping);
        let id = index as u64 + 1;
        if new {
            let mapping = protos::Mapping {
                id,
                memory_start: mapping.start,
                memory_limit: mapping.limit,
                file_offset: mapping.offset,
                filename: self.string(&mapping.file),
                build_id: self.string(&mapping.build_id),
                ..protos::Mapping::default()
            };
            self.mapping.push(mapping);
        }
        let (mapping, frames) = (&mut self.mapping[index], &location.frames);
        mapping.has_functions |= !frames.is_empty();
        mapping.has_filenames |= frames.iter().any(|frame| !frame.file.is_empty());
        mapping.has_line_numbers |= frames.iter().any(|frame| frame.line > 0);
        mapping.has_inline_frames |= frames.len() > 1;
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

    fn string(&mut self, string: impl Into<Cow<'a, str>>) -> i64 {
        i64::try_from(self.strings.index(string.into()).0).unwrap_or(i64::MAX)
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

    const CPU: ValueType = ValueType { kind: "cpu", unit: "nanoseconds" };

    /// Encodes samples of these stacks, and reads them back.
    fn there_and_back(stacks: Vec<Vec<Arc<Location>>>) -> protos::Profile {
        let sample = |stack| Sample {
            stack,
            values: vec![2, 20],
            labels: vec![("thread", "worker".to_owned())],
        };
        let profile = Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }, CPU],
            samples: stacks.into_iter().map(sample).collect(),
            start: SystemTime::now(),
            duration: std::time::Duration::from_secs(1),
            period: Some((CPU, 10)),
            dropped: 3,
        };
        let gzipped = encode(&profile).expect("encodes");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*gzipped).read_to_end(&mut bytes).expect("gzip");
        protos::Profile::decode(&*bytes).expect("decodes")
    }

    fn text(read: &protos::Profile, index: i64) -> &str {
        &read.string_table[index as usize]
    }

    fn frame(name: &str, line: u32) -> Frame {
        Frame { file: "a.rs".to_owned(), line, ..Frame::named(name) }
    }

    #[test]
    fn what_is_encoded_can_be_read_back() {
        let named = |name, line| Arc::new(Location::named(frame(name, line)));
        let stacks = [("hot", 7), ("hot", 8)].map(|(leaf, line)| {
            // Equal, but not the same in memory.
            vec![named(leaf, line), named("main", 1)]
        });
        let read = there_and_back(stacks.into());
        assert_eq!(text(&read, 0), "");
        assert_eq!(read.function.len(), 2, "one function for both lines of `hot`");
        assert_eq!(read.location.len(), 3);
        assert_eq!(read.sample[0].location_id, [1, 2]);
        assert_eq!(read.sample[1].location_id, [3, 2]);
        assert_eq!(text(&read, read.sample[0].label[0].key), "thread");
        assert_eq!(text(&read, read.sample[0].label[0].str), "worker");
        assert_eq!(text(&read, read.sample_type[1].ty), "cpu");
        assert_eq!((read.period, read.duration_nanos), (10, 1_000_000_000));
        assert_eq!(text(&read, read.comment[0]), "dropped samples: 3");
        assert!(read.mapping.is_empty());
    }

    #[test]
    fn addresses_inlined_frames_and_mappings_are_kept() {
        let mapping = |start, file: &str| {
            let (file, build_id) = (file.to_owned(), "c0ffee".to_owned());
            Some(Arc::new(Mapping { start, limit: start + 0x1000, offset: 0x40, file, build_id }))
        };
        let (program, library) = (mapping(0x1000, "/bin/app"), mapping(0x8000, "/lib/libc.so.6"));
        let at = |address, mapping: &Option<_>, frames: &[Frame]| {
            let frames = frames.iter().cloned().map(Arc::new).collect();
            Arc::new(Location { address, mapping: mapping.clone(), frames })
        };
        let frames = [frame("inlined", 3), frame("caller", 9)];
        let caller = at(0x1010, &program, &frames);
        let read = there_and_back(vec![
            vec![at(0x8010, &library, &[]), caller.clone()],
            vec![at(0x10, &None, &[]), caller],
            vec![at(0x8020, &library, &[Frame::named("read")])],
        ]);

        assert_eq!(read.sample[0].location_id, [1, 2]);
        assert_eq!(read.sample[1].location_id, [3, 2]);
        let addresses: Vec<_> = read.location.iter().map(|location| location.address).collect();
        assert_eq!(addresses, [0x8010, 0x1010, 0x10, 0x8020]);
        let mappings: Vec<_> = read.location.iter().map(|location| location.mapping_id).collect();
        assert_eq!(mappings, [1, 2, 0, 1]);

        let lines = &read.location[1].line;
        let name = |id: u64| text(&read, read.function[id as usize - 1].name);
        let lines: Vec<_> = lines.iter().map(|line| (name(line.function_id), line.line)).collect();
        assert_eq!(lines, [("inlined", 3), ("caller", 9)]);
        assert!(read.location[0].line.is_empty() && read.location[2].line.is_empty());

        let [program, library] = &*read.mapping else { panic!("{:?}", read.mapping) };
        assert_eq!((program.id, library.id), (2, 1), "the program comes first");
        assert_eq!((program.memory_start, program.memory_limit), (0x1000, 0x2000));
        assert_eq!((program.file_offset, text(&read, program.filename)), (0x40, "/bin/app"));
        assert_eq!(text(&read, program.build_id), "c0ffee");
        let has = |of: &protos::Mapping| {
            [of.has_functions, of.has_filenames, of.has_line_numbers, of.has_inline_frames]
        };
        assert_eq!(has(program), [true; 4]);
        assert_eq!(has(library), [true, false, false, false]);
    }
}
