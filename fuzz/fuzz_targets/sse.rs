//! A stream, cut anywhere: the same frames as at once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thermograph_codec::{Codec, frames, frames_of};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    for codec in [Codec::MessagePack, Codec::Cbor] {
        let cut = frames_of(stream.chunks(usize::from(size) + 1), codec);
        let whole = frames(stream, codec);
        assert_eq!(cut.error.is_some(), whole.error.is_some());
        assert_eq!(cut.bytes, whole.bytes);
    }
});
