//! Answers of vectors in each codec: bytes, and the time to write and to read them.
//!
//! Written by what the service writes them with; read by what clients in Rust read them with, up to
//! numbers.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbor4ii::core::{Value, dec::Decode as _, utils::SliceReader};
use serde::Deserialize;
use thermograph_codec::{Codec, Embeddings, Form};

use crate::{
    figure::{Bound, Figure},
    pin::Side,
    poll::cpu_time,
    rounds::{Ratio, Rounds, Sample},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 100, length: Duration::from_millis(5) };

/// As many as all-MiniLM-L6-v2 has.
const DIMENSIONS: usize = 384;
/// Vectors of an answer.
const COUNTS: [usize; 3] = [1, 32, 256];

/// How an answer is written.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    codec: Codec,
    form: Form,
}

const ARRAYS: Way = Way { name: "JSON", codec: Codec::Json, form: Form::Floats };
const OTHERS: [Way; 3] = [
    Way { name: "base64 in JSON", codec: Codec::Json, form: Form::Base64 },
    Way { name: "MessagePack", codec: Codec::MessagePack, form: Form::Packed },
    Way { name: "CBOR", codec: Codec::Cbor, form: Form::Packed },
];

/// What a client reads of an answer.
#[derive(Deserialize)]
struct List<T> {
    data: Vec<Entry<T>>,
}

#[derive(Deserialize)]
struct Entry<T> {
    embedding: T,
}

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let _pinned = Side::Server.pin()?;
    let mut figures = Vec::new();
    for count in COUNTS {
        let vectors = vectors(count);
        for other in OTHERS {
            figures.extend(compare(&vectors, other, rounds)?);
        }
    }
    Ok(figures)
}

/// How much faster another way is than arrays in JSON, and how much smaller.
fn compare(vectors: &[Vec<f32>], other: Way, rounds: Rounds) -> anyhow::Result<[Figure; 2]> {
    let ways = [other, ARRAYS];
    let bodies = [other.encode(vectors)?, ARRAYS.encode(vectors)?];
    for (way, body) in ways.iter().zip(&bodies) {
        ensure!(way.decode(body)? == vectors, "{} does not carry the vectors", way.name);
    }
    let encode = rounds.pairs(|side, length| repeat(length, || ways[side].encode(vectors)))?;
    let decode =
        rounds.pairs(|side, length| repeat(length, || ways[side].decode(&bodies[side])))?;
    let nanoseconds = |sample: &Sample| sample.cpu_per_request() * 1e3;
    let (encode, decode) = (Ratio::of(&encode, nanoseconds), Ratio::of(&decode, nanoseconds));
    let [bytes, of_arrays] = bodies.map(|body| body.len());
    let (count, name) = (vectors.len(), other.name);
    let is_promised = other.codec != Codec::Json;
    let bound = |bound: Bound| if is_promised { bound } else { Bound::None };
    Ok([
        Figure {
            name: "codec",
            what: format!("encoding {count} vectors of {DIMENSIONS} in JSON : in {name}"),
            value: encode.median(),
            bound: bound(Bound::AtLeast(10.0)),
            conditions: format!(
                "{}; {:.0} → {:.0} ns; decoding {:.0} → {:.0} ns, {:.1} times faster",
                encode.spread(rounds.length),
                encode.sides[1],
                encode.sides[0],
                decode.sides[1],
                decode.sides[0],
                decode.median(),
            ),
        },
        Figure {
            name: "codec",
            what: format!("bytes of {count} vectors of {DIMENSIONS} in {name} : in JSON"),
            value: bytes as f64 / of_arrays as f64,
            bound: bound(Bound::AtMost(0.4)),
            conditions: format!("{of_arrays} → {bytes} bytes"),
        },
    ])
}

fn repeat<T>(
    length: Duration,
    mut work: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Sample> {
    let (start, before) = (Instant::now(), cpu_time());
    let mut requests = 0;
    while start.elapsed() < length {
        black_box(work()?);
        requests += 1;
    }
    let cpu_seconds = cpu_time().saturating_sub(before).as_secs_f64();
    Ok(Sample { requests, seconds: start.elapsed().as_secs_f64(), cpu_seconds })
}

/// Of length 1, as those of models are; the same every time.
fn vectors(count: usize) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut vector = || {
        let numbers: Vec<f32> = (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect();
        let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
        numbers.into_iter().map(|number| number / length).collect()
    };
    (0..count).map(|_| vector()).collect()
}

impl Way {
    fn encode(self, vectors: &[Vec<f32>]) -> anyhow::Result<Vec<u8>> {
        let Self { codec, form, .. } = self;
        Ok(Embeddings { model: "all-MiniLM-L6-v2", vectors, tokens: 1000, form }.encode(codec)?)
    }

    fn decode(self, body: &[u8]) -> anyhow::Result<Vec<Vec<f32>>> {
        match (self.codec, self.form) {
            (Codec::MessagePack, _) => {
                let list: List<&[u8]> = rmp_serde::from_slice(body)?;
                Ok(list.data.iter().map(|entry| unpacked(entry.embedding)).collect())
            }
            (Codec::Cbor, _) => cbor(body).context("no vectors"),
            (Codec::Json, Form::Base64) => {
                let list: List<&str> = serde_json::from_slice(body)?;
                let vector = |entry: Entry<&str>| Ok(unpacked(&STANDARD.decode(entry.embedding)?));
                list.data.into_iter().map(vector).collect()
            }
            (Codec::Json, _) => {
                let list: List<Vec<f32>> = serde_json::from_slice(body)?;
                Ok(list.data.into_iter().map(|entry| entry.embedding).collect())
            }
        }
    }
}

/// serde knows nothing of tags: these are looked for in the value.
fn cbor(body: &[u8]) -> Option<Vec<Vec<f32>>> {
    let value = Value::decode(&mut SliceReader::new(body)).ok()?;
    let Value::Array(data) = member(value, "data")? else { return None };
    let vector = |entry| match member(entry, "embedding")? {
        Value::Tag(85, packed) => match *packed {
            Value::Bytes(packed) => Some(unpacked(&packed)),
            _ => None,
        },
        _ => None,
    };
    data.into_iter().map(vector).collect()
}

fn member(map: Value, name: &str) -> Option<Value> {
    let Value::Map(pairs) = map else { return None };
    let is_it = |key: &Value| matches!(key, Value::Text(text) if text == name);
    pairs.into_iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

fn unpacked(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}
