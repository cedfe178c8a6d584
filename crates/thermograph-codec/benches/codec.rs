//! Nanoseconds of the codecs: vectors written, and bodies translated.
//!
//! JSON's numbers are the hot spot. `serde_json` writes them with zmij; zmij alone, without serde around
//! it, is what could be won. On the machine that this was written on that was 1.14 times in a program of
//! its own, and nothing here; ryu was 0.8 times as fast as `serde_json`, and sonic-rs 0.9 times. That is
//! not worth code of our own.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thermograph_codec::{Codec, Embeddings, Form, frames};

const DIMENSIONS: usize = 384;

fn vectors(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut number = || (random.f32() - 0.5) * 0.2;
    let vectors: Vec<Vec<f32>> =
        (0..32).map(|_| (0..DIMENSIONS).map(|_| number()).collect()).collect();
    let mut group = criterion.benchmark_group("vectors");
    group.throughput(Throughput::Elements((vectors.len() * DIMENSIONS) as u64));
    for (name, codec, form) in [
        ("JSON", Codec::Json, Form::Floats),
        ("JSON, base64", Codec::Json, Form::Base64),
        ("MessagePack", Codec::MessagePack, Form::Packed),
        ("MessagePack, floats", Codec::MessagePack, Form::Floats),
        ("CBOR", Codec::Cbor, Form::Packed),
    ] {
        let embeddings = Embeddings { model: "m", vectors: &vectors, tokens: 7, form };
        group.bench_function(name, |bench| bench.iter(|| black_box(embeddings.encode(codec))));
    }
    group.bench_function("JSON, zmij alone", |bench| {
        bench.iter(|| {
            let mut out = Vec::with_capacity(vectors.len() * DIMENSIONS * 13);
            for vector in &vectors {
                write(vector, &mut out);
            }
            black_box(out)
        });
    });
    group.finish();
}

fn write(vector: &[f32], out: &mut Vec<u8>) {
    let mut digits = zmij::Buffer::new();
    for number in vector {
        out.push(b',');
        out.extend_from_slice(digits.format_finite(*number).as_bytes());
    }
}

/// What a client of a binary codec costs beside one of JSON.
fn bodies(criterion: &mut Criterion) {
    let message = r#"{"role":"user","content":"Say this, and then \"that\", in größeren Worten."}"#;
    let messages = vec![message; 20].join(",");
    let json = format!(
        r#"{{"model":"m","messages":[{messages}],"temperature":0.7,"max_tokens":256,"stream":true}}"#
    );
    let mut group = criterion.benchmark_group("bodies");
    group.throughput(Throughput::Bytes(json.len() as u64));
    for (name, codec) in [("MessagePack", Codec::MessagePack), ("CBOR", Codec::Cbor)] {
        let to = |from: Codec, bytes: &[u8], to| from.transcode(bytes, to, usize::MAX);
        let Ok(binary) = to(Codec::Json, json.as_bytes(), codec) else { unreachable!() };
        group.bench_function(format!("from {name}"), |bench| {
            bench.iter(|| black_box(to(codec, &binary, Codec::Json)));
        });
        group.bench_function(format!("to {name}"), |bench| {
            bench.iter(|| black_box(to(Codec::Json, json.as_bytes(), codec)));
        });
    }
    group.finish();

    let chunk = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}"#;
    let event = format!("data: {chunk}\n\n");
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(1));
    for (name, codec) in [("MessagePack", Codec::MessagePack), ("CBOR", Codec::Cbor)] {
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(frames(event.as_bytes(), codec)));
        });
    }
    group.finish();
}

criterion_group!(benches, vectors, bodies);
criterion_main!(benches);
