//! A request's body, whatever it is: refused, or JSON that comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use thermograph_codec::Codec;

fuzz_target!(|body: &[u8]| {
    let Ok(json) = Codec::MessagePack.transcode(body, Codec::Json, 1 << 20) else { return };
    let _: &RawValue = serde_json::from_slice(&json).expect("JSON");
    // Of the deepest, serde_json reads a level less.
    let Ok(there) = Codec::Json.transcode(&json, Codec::MessagePack, usize::MAX) else { return };
    let back = Codec::MessagePack.transcode(&there, Codec::Json, usize::MAX).expect("it came from JSON");
    let again = Codec::Json.transcode(&back, Codec::MessagePack, usize::MAX).expect("it did before");
    assert_eq!(there, again);
});
