//! An upstream's answer, whatever it is, to each binary codec and back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use thermograph_codec::Codec;

fuzz_target!(|json: &[u8]| {
    for codec in [Codec::MessagePack, Codec::Cbor] {
        let Ok(there) = Codec::Json.transcode(json, codec, 1 << 20) else { continue };
        let back = codec.transcode(&there, Codec::Json, usize::MAX).expect("it came from JSON");
        let [before, after] = [json, &back].map(serde_json::from_slice::<Value>);
        assert_eq!(before.expect("JSON"), after.expect("JSON"));
    }
});
