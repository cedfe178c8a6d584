//! Every codec carries what there is, unchanged, and refuses what it cannot.

mod refused;
mod streams;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{BINARY, back, config, json as any_json};

fn there(json: &str, codec: Codec) -> Vec<u8> {
    Codec::Json.transcode(json.as_bytes(), codec, usize::MAX).expect(json)
}

/// What others read in it.
fn read_by_others(bytes: &[u8], codec: Codec) -> Value {
    match codec {
        Codec::MessagePack => rmp_serde::from_slice(bytes).expect("MessagePack"),
        Codec::Cbor => cbor4ii::serde::from_slice(bytes).expect("CBOR"),
        Codec::Json => serde_json::from_slice(bytes).expect("JSON"),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn json_comes_back_as_it_was(value in any_json()) {
        let text = value.to_string();
        for codec in BINARY {
            let bytes = there(&text, codec);
            prop_assert_eq!(&back(&bytes, codec), &text);
            prop_assert_eq!(&read_by_others(&bytes, codec), &value);
            // From one to the other, and by way of JSON, is the same.
            for other in BINARY {
                let direct = codec.transcode(&bytes, other, usize::MAX).expect("translated");
                prop_assert_eq!(direct, there(&text, other));
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        for codec in Codec::ALL {
            let Ok(json) = codec.transcode(&bytes, Codec::Json, usize::MAX) else { continue };
            let _: &serde_json::value::RawValue = serde_json::from_slice(&json).expect("JSON");
        }
    }

    #[test]
    fn what_is_cut_off_is_refused(value in any_json(), at in any::<prop::sample::Index>()) {
        for codec in BINARY {
            let bytes = there(&value.to_string(), codec);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert!(codec.transcode(cut, Codec::Json, usize::MAX).is_err());
            let more = [&bytes[..], &[0]].concat();
            prop_assert!(codec.transcode(&more, Codec::Json, usize::MAX).is_err());
        }
    }

    #[test]
    fn vectors_are_packed_bit_by_bit(vector in prop::collection::vec(any::<f32>(), 0..400)) {
        let embeddings =
            Embeddings { model: "m", vectors: &[&vector[..]], tokens: 1, form: Form::Packed };
        for codec in BINARY {
            let bytes = embeddings.encode(codec).expect("encoded");
            let packed: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            let place = memchr::memmem::find(&bytes, &packed);
            prop_assert!(place.is_some());
        }
    }
}

#[test]
fn requests_and_answers_come_back_as_they_were() {
    let texts = [
        r#"{"model":"m","messages":[{"role":"user","content":"größe 東京 \"\\\n\u0001"}],"stream":true}"#,
        // The order of a schema's keys is that of the answer's.
        r#"{"z":1,"a":{"type":"object","properties":{"b":{},"a":{}}},"m":null}"#,
        r#"{"a":1,"a":2,"":[]}"#,
        r#"{"max":18446744073709551615,"min":-9223372036854775808,"x":[-1,-128,-129,127,128,65536]}"#,
        "[0.1,1e+300,-0.0,5e-324,1.7976931348623157e+308,2.2250738585072014e-308]",
        r#"{"error":{"message":"no","type":"server_error","param":null,"code":null}}"#,
        "null",
        "\"\"",
    ];
    for codec in BINARY {
        for text in texts {
            assert_eq!(back(&there(text, codec), codec), text, "{codec:?}");
        }
    }
}

#[test]
fn what_is_binary_has_its_form_in_json() {
    let cases: [(Codec, &[u8], &str); 12] = [
        (Codec::MessagePack, b"\xc4\x03abc", r#""YWJj""#),
        (Codec::MessagePack, b"\xca\x3d\xcc\xcc\xcd", "0.1"),
        (Codec::MessagePack, b"\xd3\0\0\0\0\0\0\0\x07", "7"),
        (Codec::Cbor, b"\x43abc", r#""YWJj""#),
        (Codec::Cbor, b"\xd8\x55\x44\0\0\x80\x3f", r#""AACAPw==""#),
        (Codec::Cbor, b"\xfa\x3d\xcc\xcc\xcd", "0.1"),
        (Codec::Cbor, b"\xf9\x3e\x00", "1.5"),
        (Codec::Cbor, b"\xf9\x80\x01", "-5.9604645e-8"),
        (Codec::Cbor, b"\xf7", "null"),
        (Codec::Cbor, b"\xd9\xd9\xf7\xc0\x61a", r#""a""#),
        // Without lengths.
        (Codec::Cbor, b"\xbf\x7f\x61a\x61b\xff\x9f\x01\x9f\xff\xff\xff", r#"{"ab":[1,[]]}"#),
        (Codec::Cbor, b"\x5f\x41a\x42bc\xff", r#""YWJj""#),
    ];
    for (codec, bytes, json) in cases {
        assert_eq!(back(bytes, codec), json, "{codec:?} {bytes:x?}");
    }
}

#[test]
fn numbers_beyond_64_bits_become_the_nearest_float() {
    for codec in BINARY {
        assert_eq!(back(&there("18446744073709551616", codec), codec), "1.8446744073709552e+19");
        let refused = Codec::Json.transcode(b"1e400", codec, usize::MAX).expect_err("too large");
        assert!(refused.to_string().contains("out of range"), "{refused}");
    }
}

#[test]
fn lists_and_maps_of_any_length_have_the_shortest_header() {
    for (length, longer) in [(0, 0), (15, 0), (16, 2), (65_535, 2), (65_536, 4)] {
        let text = json!(vec![0; length]).to_string();
        assert_eq!(there(&text, Codec::MessagePack).len(), 1 + length + longer);
    }
    for (length, longer) in [(23, 0), (24, 1), (255, 1), (256, 2), (65_536, 4)] {
        let text = json!(vec![0; length]).to_string();
        assert_eq!(there(&text, Codec::Cbor).len(), 1 + length + longer);
    }
}

#[test]
fn vectors_in_an_answer_are_packed_and_nothing_else_is() {
    let answer = |vector: &str| {
        format!(
            r#"{{"object":"list","embedding":[1.5],"data":[{{"index":0,"embedding":{vector},"x":[1.5]}}],"y":{{"data":[{{"embedding":[2]}}]}}}}"#
        )
    };
    let translated = |vector: &str, form| {
        let mut out = Vec::new();
        let json = answer(vector);
        Codec::Json
            .append(json.as_bytes(), Codec::MessagePack, form, usize::MAX, &mut out)
            .expect("translated");
        out
    };
    // As base64 in JSON again.
    let packed = translated("[0.5,-1,2]", Some(Vectors::Packed));
    assert_eq!(back(&packed, Codec::MessagePack), answer(r#""AAAAPwAAgL8AAABA""#));
    let empty = translated("[]", Some(Vectors::Packed));
    assert_eq!(back(&empty, Codec::MessagePack), answer(r#""""#));
    let floats = translated("[0.5,-1,2]", Some(Vectors::Floats));
    assert_eq!(back(&floats, Codec::MessagePack), answer("[0.5,-1.0,2.0]"));
    // No vectors: text, other values within, numbers that are no 32-bit floats.
    for vector in [r#""AAAA""#, "[0.5,null,2]", "[0.5,[1],2]", "[1e+300,1]", "null", "{\"a\":[1]}"]
    {
        for form in [None, Some(Vectors::Packed), Some(Vectors::Floats)] {
            assert_eq!(back(&translated(vector, form), Codec::MessagePack), answer(vector));
        }
    }
}

#[test]
fn answers_of_vectors_are_the_same_in_every_codec() {
    let vectors = [vec![0.25_f32; 384], vec![-0.1; 384]];
    let json = |form, codec: Codec| {
        let embeddings = Embeddings { model: "m", vectors: &vectors, tokens: 7, form };
        let bytes = embeddings.encode(codec).expect("encoded");
        codec.transcode(&bytes, Codec::Json, usize::MAX).expect("JSON")
    };
    for codec in BINARY {
        assert_eq!(json(Form::Floats, codec), json(Form::Floats, Codec::Json));
        assert_eq!(json(Form::Base64, codec), json(Form::Base64, Codec::Json));
        assert_eq!(json(Form::Packed, codec), json(Form::Base64, Codec::Json));
    }
    assert_eq!(json(Form::Packed, Codec::Json), json(Form::Floats, Codec::Json));
}
