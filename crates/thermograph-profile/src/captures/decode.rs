//! Decoding of gzipped `profile.proto`, as servers send it.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use flate2::read::GzDecoder;
use pprof::protos::{self, Message as _};
use thiserror::Error;

use crate::{Frame, Location, Mapping, Profile, Sample, ValueType, pprof::DROPPED};

/// Names of labels that are kept.
const LABELS: [&str; 6] = ["class", "method", "route", "state", "syscall", "thread"];
/// Kinds of values, and their units, that are known by name.
const MEASURES: [&str; 14] = [
    "alloc_objects",
    "alloc_space",
    "bytes",
    "contentions",
    "count",
    "cpu",
    "delay",
    "inuse_objects",
    "inuse_space",
    "nanoseconds",
    "samples",
    "space",
    "tasks",
    "wall",
];

/// Most bytes of a profile that was unpacked: a hundred times those of a minute of a busy service.
const MAX_UNPACKED: u64 = 1 << 29;

/// The reason why data could not be decoded as a profile.
#[derive(Clone, Copy, Debug, Error)]
#[non_exhaustive]
pub enum Undecodable {
    /// The data is not a complete gzip stream.
    #[error("the profile is not gzipped")]
    NotGzipped,
    /// The unpacked data is not a `profile.proto` message.
    #[error("the profile is not profile.proto")]
    NotProto,
    /// The unpacked data is longer than this limit, in bytes.
    #[error("the profile is too long: {0} bytes are allowed")]
    TooLong(u64),
}

/// Decodes gzipped `profile.proto`. Labels that thermograph does not write are left out; kinds and
/// units of values that it does not write become `unknown`.
pub fn decode(gzipped: &[u8]) -> Result<Profile, Undecodable> {
    let bytes = unpack(gzipped, MAX_UNPACKED)?;
    let wire = protos::Profile::decode(&*bytes).map_err(|_| Undecodable::NotProto)?;
    Ok(Decoder { wire: &wire }.profile())
}

/// A few bytes may be packed out of very many.
fn unpack(gzipped: &[u8], max: u64) -> Result<Vec<u8>, Undecodable> {
    let mut bytes = Vec::new();
    let mut unpacked = GzDecoder::new(gzipped).take(max + 1);
    unpacked.read_to_end(&mut bytes).map_err(|_| Undecodable::NotGzipped)?;
    if bytes.len() as u64 > max { Err(Undecodable::TooLong(max)) } else { Ok(bytes) }
}

/// Takes a wire profile apart; ids that lead nowhere are left out.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    wire: &'a protos::Profile,
}

impl<'a> Decoder<'a> {
    fn profile(self) -> Profile {
        let nanoseconds = |value: i64| Duration::from_nanos(value.try_into().unwrap_or(0));
        let locations = self.locations();
        let samples = self.wire.sample.iter().map(|sample| self.sample(sample, &locations));
        Profile {
            values: self.wire.sample_type.iter().map(|value| self.value_type(value)).collect(),
            samples: samples.collect(),
            start: SystemTime::UNIX_EPOCH + nanoseconds(self.wire.time_nanos),
            duration: nanoseconds(self.wire.duration_nanos),
            period: self
                .wire
                .period_type
                .as_ref()
                .map(|value| (self.value_type(value), self.wire.period)),
            dropped: self.dropped(),
        }
    }

    /// The number in the comment about dropped samples; 0 where there is no such comment.
    fn dropped(self) -> u64 {
        let comments = self.wire.comment.iter().map(|comment| self.text(*comment));
        let mut dropped = comments.filter_map(|text| text.strip_prefix(DROPPED)?.parse().ok());
        dropped.next().unwrap_or(0)
    }

    fn value_type(self, value: &protos::ValueType) -> ValueType {
        let measure = |index| known(&MEASURES, self.text(index)).unwrap_or("unknown");
        ValueType { kind: measure(value.ty), unit: measure(value.unit) }
    }

    fn sample(self, sample: &protos::Sample, locations: &HashMap<u64, Arc<Location>>) -> Sample {
        let labels = sample.label.iter().filter_map(|label| {
            Some((known(&LABELS, self.text(label.key))?, self.text(label.str).to_owned()))
        });
        Sample {
            stack: sample.location_id.iter().filter_map(|id| locations.get(id).cloned()).collect(),
            values: sample.value.clone(),
            labels: labels.collect(),
        }
    }

    /// By id, each once: samples share them.
    fn locations(self) -> HashMap<u64, Arc<Location>> {
        let mappings = self.wire.mapping.iter().map(|mapping| (mapping.id, self.mapping(mapping)));
        let mappings: HashMap<_, _> = mappings.collect();
        let locations = self.wire.location.iter().map(|location| {
            let read = Location {
                address: location.address,
                mapping: mappings.get(&location.mapping_id).cloned(),
                frames: location.line.iter().filter_map(|line| self.frame(line)).collect(),
            };
            (location.id, Arc::new(read))
        });
        locations.collect()
    }

    fn mapping(self, mapping: &protos::Mapping) -> Arc<Mapping> {
        Arc::new(Mapping {
            start: mapping.memory_start,
            limit: mapping.memory_limit,
            offset: mapping.file_offset,
            file: self.text(mapping.filename).to_owned(),
            build_id: self.text(mapping.build_id).to_owned(),
        })
    }

    fn frame(self, line: &protos::Line) -> Option<Arc<Frame>> {
        let function = entry(&self.wire.function, line.function_id, |function| function.id)?;
        Some(Arc::new(Frame {
            name: self.text(function.name).to_owned(),
            linkage: self.text(function.system_name).to_owned(),
            file: self.text(function.filename).to_owned(),
            line: line.line.try_into().unwrap_or(0),
        }))
    }

    fn text(self, index: i64) -> &'a str {
        let index = usize::try_from(index).ok();
        index.and_then(|index| self.wire.string_table.get(index)).map_or("", String::as_str)
    }
}

/// The one of the words that this is.
fn known(words: &[&'static str], text: &str) -> Option<&'static str> {
    words.iter().find(|word| **word == text).copied()
}

/// The entry with this id. Encoders number from 1 in order as a rule: that place is tried first.
fn entry<T>(table: &[T], id: u64, id_of: impl Fn(&T) -> u64) -> Option<&T> {
    let place = usize::try_from(id).ok()?.checked_sub(1)?;
    let there = table.get(place).filter(|entry| id_of(entry) == id);
    there.or_else(|| table.iter().find(|entry| id_of(entry) == id))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::{folded, pprof};

    #[test]
    fn decodes_and_folds_to_what_was_encoded() {
        let mapping = Arc::new(Mapping {
            start: 0x1000,
            limit: 0x2000,
            offset: 0x40,
            file: "/bin/app".to_owned(),
            build_id: "c0ffee".to_owned(),
        });
        let at = |address, names: &[&str]| {
            let frame = |name: &&str| {
                Arc::new(Frame { file: "a.rs".to_owned(), line: 7, ..Frame::named(name) })
            };
            let frames = names.iter().map(frame).collect();
            Arc::new(Location { address, mapping: Some(Arc::clone(&mapping)), frames })
        };
        let main = Arc::new(Location::named(Frame::named("main")));
        let sample = |leaf: &Arc<Location>, thread: &str, value| Sample {
            stack: vec![Arc::clone(leaf), Arc::clone(&main)],
            values: vec![1, value],
            labels: vec![("thread", thread.to_owned()), ("route", "/hello".to_owned())],
        };
        let (hot, cold) = (at(0x1010, &["inlined", "hot"]), at(0x1020, &[]));
        let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
        let profile = Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
            samples: vec![
                sample(&hot, "worker-0", 30),
                sample(&hot, "worker-1", 12),
                sample(&cold, "worker-1", 1),
            ],
            start: SystemTime::now(),
            duration: Duration::from_secs(1),
            period: Some((cpu, 10)),
            dropped: 2,
        };
        let gzipped = pprof::encode(&profile).expect("encodes");
        let decoded = decode(&gzipped).expect("decodes");
        assert_eq!(decoded.samples, profile.samples);
        assert_eq!((&decoded.values, decoded.period), (&profile.values, profile.period));
        assert_eq!((decoded.start, decoded.duration), (profile.start, profile.duration));
        assert_eq!(decoded.dropped, 2);
        let folded = folded::fold(&decoded);
        assert_eq!(folded, folded::fold(&profile));
        let expected = "/hello;worker;main;[app] 1\n/hello;worker;main;hot;inlined 42\n";
        assert_eq!(folded, expected);
    }

    #[test]
    fn labels_and_measures_of_other_programs_are_not_kept() {
        let profile = Profile {
            values: vec![ValueType { kind: "moons", unit: "count" }],
            samples: vec![Sample {
                stack: Vec::new(),
                values: vec![1],
                labels: vec![("planet", "Mars".to_owned()), ("state", "round".to_owned())],
            }],
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            period: None,
            dropped: 0,
        };
        let decoded = decode(&pprof::encode(&profile).expect("encodes")).expect("decodes");
        assert_eq!(decoded.values, [ValueType { kind: "unknown", unit: "count" }]);
        assert_eq!(decoded.samples[0].labels, [("state", "round".to_owned())]);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(matches!(decode(b"<html>"), Err(Undecodable::NotGzipped)));
        let packed = |bytes: &[u8]| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("packed")
        };
        assert!(matches!(decode(&packed(b"<html>")), Err(Undecodable::NotProto)));
        let packed = packed(&[0; 1000]);
        assert!(packed.len() < 100);
        assert!(matches!(unpack(&packed, 999), Err(Undecodable::TooLong(999))));
        assert_eq!(unpack(&packed, 1000).expect("not too long").len(), 1000);
    }
}
