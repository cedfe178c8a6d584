//! The codecs, and the media types that they go by.

/// Format that a body is written in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Codec {
    /// JSON, the format that the server works with inside.
    #[default]
    Json,
    /// MessagePack.
    MessagePack,
    /// CBOR.
    Cbor,
}

impl Codec {
    /// Every codec, the preferred first.
    pub const ALL: [Self; 3] = [Self::Json, Self::MessagePack, Self::Cbor];
    /// The media types that are offered, in words.
    pub const OFFERED: &str =
        "application/json, application/msgpack (also x-msgpack and vnd.msgpack), application/cbor";

    /// Media type of answers in this codec.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
            Self::Cbor => "application/cbor",
        }
    }

    /// Media type of streams in this codec: server-sent events for JSON, frames for the others.
    pub fn stream_media_type(self) -> &'static str {
        match self {
            Self::Json => "text/event-stream",
            Self::MessagePack => "application/msgpack; framing=length-delimited",
            Self::Cbor => "application/cbor; framing=length-delimited",
        }
    }

    /// Codec of a media type without parameters; `None` if no codec has it.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let is = |name: &&str| media_type.eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(|codec| codec.names().iter().any(is))
    }

    /// Names of the media type, the preferred one first.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::MessagePack => {
                &["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
            }
            Self::Cbor => &["application/cbor"],
        }
    }
}
