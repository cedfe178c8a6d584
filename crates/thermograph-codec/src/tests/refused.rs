//! What has no form in JSON, and what is none of a codec.

use super::*;
use crate::error::DEPTH;

fn refused(codec: Codec, bytes: &[u8]) -> String {
    let error = codec.transcode(bytes, Codec::Json, 1 << 20);
    error.expect_err("it is refused").to_string()
}

#[test]
fn what_and_where_is_said() {
    let cases: [(Codec, &[u8], &str); 24] = [
        (Codec::MessagePack, b"", "it ends in the middle of a value"),
        (Codec::MessagePack, b"\xc0\xc0\xc0", "2 bytes follow after the value"),
        (Codec::MessagePack, b"\x81\xa1a\x92\x01\xcb\x7f\xf8\0\0\0\0\0\0", "a[1]: NaN has no form"),
        (Codec::MessagePack, b"\xca\xff\x80\0\0", "-inf has no form in JSON"),
        (Codec::MessagePack, b"\x81\xa1a\x81\x07\xc0", "a: a key is not text but an integer"),
        (Codec::MessagePack, b"\x81\xc0\xc0", "a key is not text but nil"),
        (Codec::MessagePack, b"\x91\xa1\xff", "[0]: text is not UTF-8"),
        (Codec::MessagePack, b"\xd6\xff\0\0\0\0", "extension type -1 has no form in JSON"),
        (Codec::MessagePack, b"\xc7\x01\x07\0", "extension type 7 has no form in JSON"),
        (Codec::MessagePack, b"\xc1", "byte 0xc1 begins no value"),
        // As long as it says it is, there would be no memory.
        (Codec::MessagePack, b"\xdd\xff\xff\xff\xff", "it ends"),
        (Codec::MessagePack, b"\xdb\xff\xff\xff\xffa", "it ends"),
        (Codec::Cbor, b"", "it ends in the middle of a value"),
        (Codec::Cbor, b"\x80\x00", "1 bytes follow"),
        (Codec::Cbor, b"\xa1\x61a\x82\x01\xf9\x7e\x00", "a[1]: NaN has no form"),
        (Codec::Cbor, b"\xf9\xfc\x00", "-inf has no form in JSON"),
        (Codec::Cbor, b"\xa1\x61a\xa1\x07\xf6", "a: a key is not text but an integer"),
        (Codec::Cbor, b"\x81\x61\xff", "[0]: text is not UTF-8"),
        (Codec::Cbor, b"\xc2\x49\x01\0\0\0\0\0\0\0\0", "an integer does not fit in 64 bits"),
        (Codec::Cbor, b"\x3b\x80\0\0\0\0\0\0\0", "an integer does not fit in 64 bits"),
        (Codec::Cbor, b"\xf0", "simple value 16 has no form in JSON"),
        (Codec::Cbor, b"\xff", "byte 0xff begins no value"),
        (Codec::Cbor, b"\x7f\x41a\xff", "byte 0x41 begins no value"),
        (Codec::Cbor, b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "it ends"),
    ];
    for (codec, bytes, expected) in cases {
        let error = refused(codec, bytes);
        assert!(error.contains(expected), "{codec:?} {bytes:x?}: {error}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    for (codec, list) in [(Codec::MessagePack, 0x91), (Codec::Cbor, 0x81), (Codec::Cbor, 0x9f)] {
        let nested = |depth: usize| {
            let mut bytes = vec![list; depth];
            bytes.push(0);
            bytes.extend(std::iter::repeat_n(0xff, if list == 0x9f { depth } else { 0 }));
            bytes
        };
        assert!(codec.transcode(&nested(DEPTH), Codec::Json, 1 << 20).is_ok());
        let error = refused(codec, &nested(DEPTH + 1));
        assert!(error.ends_with("it is nested deeper than 128 levels"), "{error}");
        refused(codec, &nested(1 << 20));
    }
    // Tags do not nest, however many there are.
    let tags = vec![0xc1; 1 << 20];
    assert_eq!(refused(Codec::Cbor, &tags), "it ends in the middle of a value");
}

#[test]
fn a_result_that_is_too_large_is_not_finished() {
    for (codec, nulls) in [(Codec::MessagePack, b"\xdc\xff\xff"), (Codec::Cbor, b"\x99\xff\xff")] {
        let mut bytes = nulls.to_vec();
        bytes.resize(3 + 65_535, if codec == Codec::Cbor { 0xf6 } else { 0xc0 });
        let error = codec.transcode(&bytes, Codec::Json, 1000).expect_err("too large");
        assert!(error.is_too_large(), "{error}");
        assert!(codec.transcode(&bytes, Codec::Json, 65_535 * 5 + 1).is_ok());
        let json = format!("[{}1]", "1,".repeat(1000));
        let error = Codec::Json.transcode(json.as_bytes(), codec, 100).expect_err("too large");
        assert!(error.is_too_large(), "{error}");
    }
}
