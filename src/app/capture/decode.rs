//! A profile as a server sent it, as a profile of ours.

use std::{
    io::Read as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use flate2::read::GzDecoder;
use pprof::protos::{self, Message as _};

use crate::diagnostics::{Frame, Profile, Sample, pprof::DROPPED};

/// Reads gzipped `profile.proto`.
pub(crate) fn decode(gzipped: &[u8]) -> anyhow::Result<Profile> {
    let mut bytes = Vec::new();
    GzDecoder::new(gzipped).read_to_end(&mut bytes).context("the profile is not gzipped")?;
    let wire = protos::Profile::decode(&*bytes).context("the profile is not profile.proto")?;
    Ok(Decoder { wire: &wire }.profile())
}

/// Takes a wire profile apart; ids that lead nowhere are left out.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    wire: &'a protos::Profile,
}

impl<'a> Decoder<'a> {
    /// What folding needs of it: stacks, values and threads.
    fn profile(self) -> Profile {
        Profile {
            values: Vec::new(),
            samples: self.wire.sample.iter().map(|sample| self.sample(sample)).collect(),
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::from_nanos(self.wire.duration_nanos.try_into().unwrap_or(0)),
            period: None,
            dropped: self.dropped(),
        }
    }

    /// What its comment says; none where there is no such comment.
    fn dropped(self) -> u64 {
        let comments = self.wire.comment.iter().map(|comment| self.text(*comment));
        let mut dropped = comments.filter_map(|text| text.strip_prefix(DROPPED)?.parse().ok());
        dropped.next().unwrap_or(0)
    }

    fn sample(self, sample: &protos::Sample) -> Sample {
        let thread = sample.label.iter().find(|label| self.text(label.key) == "thread");
        Sample {
            stack: sample.location_id.iter().flat_map(|id| self.frames(*id)).collect(),
            values: sample.value.clone(),
            labels: thread
                .map(|label| ("thread", self.text(label.str).to_owned()))
                .into_iter()
                .collect(),
        }
    }

    /// The frames of a location, the innermost of inlined ones first.
    fn frames(self, id: u64) -> impl Iterator<Item = Arc<Frame>> {
        let location = entry(&self.wire.location, id, |location| location.id);
        location.into_iter().flat_map(|location| &location.line).filter_map(move |line| {
            let function = entry(&self.wire.function, line.function_id, |function| function.id)?;
            Some(Arc::new(Frame {
                name: self.text(function.name).to_owned(),
                linkage: self.text(function.system_name).to_owned(),
                file: self.text(function.filename).to_owned(),
                line: line.line.try_into().unwrap_or(0),
            }))
        })
    }

    fn text(self, index: i64) -> &'a str {
        let index = usize::try_from(index).ok();
        index.and_then(|index| self.wire.string_table.get(index)).map_or("", String::as_str)
    }
}

/// The entry with this id. Encoders number from 1 in order as a rule: that place is tried first.
fn entry<T>(table: &[T], id: u64, id_of: impl Fn(&T) -> u64) -> Option<&T> {
    let place = usize::try_from(id).ok()?.checked_sub(1)?;
    let there = table.get(place).filter(|entry| id_of(entry) == id);
    there.or_else(|| table.iter().find(|entry| id_of(entry) == id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{ValueType, folded, pprof};

    #[test]
    fn folds_to_what_was_encoded() {
        let frame = |name: &str, line| {
            let (linkage, file) = (name.to_owned(), "a.rs".to_owned());
            Arc::new(Frame { name: name.to_owned(), linkage, file, line })
        };
        let sample = |leaf: &str, thread: &str, value| Sample {
            stack: vec![frame(leaf, 7), frame("main", 1)],
            values: vec![1, value],
            labels: vec![("thread", thread.to_owned())],
        };
        let profile = Profile {
            values: vec![
                ValueType { kind: "samples", unit: "count" },
                ValueType { kind: "cpu", unit: "nanoseconds" },
            ],
            samples: vec![
                sample("hot", "worker-0", 30),
                sample("hot", "worker-1", 12),
                sample("cold", "worker-1", 1),
            ],
            start: SystemTime::now(),
            duration: Duration::from_secs(1),
            period: None,
            dropped: 2,
        };
        let gzipped = pprof::encode(&profile).expect("encodes");
        let decoded = decode(&gzipped).expect("decodes");
        assert_eq!(decoded.dropped, 2);
        let folded = folded::fold(&decoded);
        assert_eq!(folded, folded::fold(&profile));
        assert_eq!(folded, "worker;main;cold 1\nworker;main;hot 42\n");
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(decode(b"<html>").is_err());
    }
}
