//! Request bodies that are compressed (`content-encoding`).

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use futures_util::FutureExt as _;
use http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::BodyError;

/// Compression of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// A body that cannot be decompressed.
#[derive(Debug)]
pub(crate) enum Undecoded {
    /// Larger than bodies may be.
    TooLarge,
    /// Not of the format that is declared.
    Invalid(io::Error),
}

impl Encoding {
    /// The encodings that are read, in words.
    pub(crate) const OFFERED: &str = "gzip, deflate, br, zstd, or none";

    /// The encoding of a request's body; `None` if there is none.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, BodyError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter().skip(1);
        let name = value.to_str().unwrap_or_default().trim();
        let encoding = match name.to_ascii_lowercase().as_str() {
            "identity" | "" => None,
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => return Err(BodyError::UnknownEncoding(name.to_owned())),
        };
        // Nothing is decompressed twice.
        match values.next() {
            None => Ok(encoding),
            Some(other) => {
                let name = other.to_str().unwrap_or_default();
                Err(BodyError::UnknownEncoding(name.to_owned()))
            }
        }
    }

    /// Decompresses a body, up to `limit` bytes. Takes as long as it takes: not for a worker.
    pub(crate) fn decode(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Undecoded> {
        match self {
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(bytes);
                // Members after the first one belong to the body, too.
                decoder.multiple_members(true);
                read(&mut decoder, limit)
            }
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(bytes);
                whole(read(&mut decoder, limit)?, decoder.get_ref())
            }
            Self::Brotli => {
                let mut decoder = BrotliDecoder::new(bytes);
                whole(read(&mut decoder, limit)?, decoder.get_ref())
            }
            Self::Zstd => {
                let mut decoder = ZstdDecoder::new(bytes);
                decoder.multiple_members(true);
                read(&mut decoder, limit)
            }
        }
    }
}

/// The body, if nothing is left behind it.
fn whole(body: Vec<u8>, left: &[u8]) -> Result<Vec<u8>, Undecoded> {
    if left.is_empty() {
        return Ok(body);
    }
    Err(Undecoded::Invalid(io::Error::other("there is more behind its end")))
}

fn read(decoder: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Vec<u8>, Undecoded> {
    let mut bytes = Vec::new();
    let mut decoder = decoder.take(limit as u64 + 1);
    // Never pending: all bytes are there.
    let read = decoder.read_to_end(&mut bytes).now_or_never();
    let read = read.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
    read.map_err(Undecoded::Invalid)?;
    if bytes.len() > limit { Err(Undecoded::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        read(&mut GzipEncoder::new(bytes), usize::MAX - 1).expect("compressed")
    }

    #[test]
    fn nothing_behind_the_end_is_passed_over() {
        let most = usize::MAX - 1;
        let packed = [
            (Encoding::Gzip, gzip(b"a")),
            (Encoding::Deflate, read(&mut ZlibEncoder::new(&b"a"[..]), most).expect("packed")),
            (Encoding::Brotli, read(&mut BrotliEncoder::new(&b"a"[..]), most).expect("packed")),
            (Encoding::Zstd, read(&mut ZstdEncoder::new(&b"a"[..]), most).expect("packed")),
        ];
        for (encoding, packed) in packed {
            assert_eq!(encoding.decode(&packed, 10).expect("read"), b"a", "{encoding:?}");
            let more = [&packed, &b"garbage"[..]].concat();
            assert!(encoding.decode(&more, 10).is_err(), "{encoding:?}");
        }
    }

    #[test]
    fn bodies_are_read_up_to_the_limit() {
        let body = b"{\"model\":\"m\"}".repeat(1000);
        let small = gzip(&body);
        assert!(small.len() < body.len() / 10);
        assert_eq!(Encoding::Gzip.decode(&small, body.len()).expect("read"), body);
        let refused = Encoding::Gzip.decode(&small, body.len() - 1);
        assert!(matches!(refused, Err(Undecoded::TooLarge)));
        let both = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(Encoding::Gzip.decode(&both, 10).expect("read"), b"ab");
        for broken in [&small[..small.len() / 2], b"{}", b""] {
            assert!(matches!(Encoding::Gzip.decode(broken, 1 << 20), Err(Undecoded::Invalid(_))));
        }
    }

    #[test]
    fn encodings_are_known_by_their_names() {
        let of = |values: &[&'static str]| {
            let value = |value: &&'static str| {
                (header::CONTENT_ENCODING, http::HeaderValue::from_static(value))
            };
            Encoding::of(&values.iter().map(value).collect()).ok()
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["Identity"]), Some(None));
        assert_eq!(of(&["GZIP"]), Some(Some(Encoding::Gzip)));
        assert_eq!(of(&["zstd"]), Some(Some(Encoding::Zstd)));
        for bad in [&["lz4"][..], &["gzip, br"], &["gzip", "br"]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
