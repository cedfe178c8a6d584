//! Documents and streams for tests, here and of what is built on the codecs.

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use serde_json::Value;

use crate::Codec;

/// The codecs that are not JSON.
pub const BINARY: [Codec; 2] = [Codec::MessagePack, Codec::Cbor];

/// Configuration of property tests: the same cases every time, and no file of those that failed.
pub fn config() -> Config {
    Config {
        cases: 512,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    }
}

/// Translates a document to JSON.
pub fn back(bytes: &[u8], codec: Codec) -> String {
    let json = codec.transcode(bytes, Codec::Json, usize::MAX).expect("it has a form in JSON");
    String::from_utf8(json).expect("text")
}

/// Any document.
pub fn json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..300_i64).prop_map(|value| Value::from(value - 150)),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
    ];
    let text = prop_oneof![any::<String>(), "[a-z]{0,300}", "\\PC{0,40}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 200, 40, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A stream of events.
pub const STREAM: &str = "data: {\"x\":\"äöü 🔥 水\"}\r\n\r\n: ping\n\nevent: e\ndata: [1,\ndata: 2]\n\n\
                      data: {\"usage\":null}\n\ndata: [DONE]\n\n";
/// Data of its events.
pub const VALUES: [&str; 4] = [r#"{"x":"äöü 🔥 水"}"#, "[1,2]", r#"{"usage":null}"#, ""];

/// The frames' values as JSON; nothing may be left over.
pub fn values(mut bytes: &[u8], codec: Codec) -> Vec<String> {
    let mut values = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (value, rest) = rest.split_at(length);
        values.push(if length == 0 { String::new() } else { back(value, codec) });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    values
}
