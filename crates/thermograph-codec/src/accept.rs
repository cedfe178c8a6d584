//! The codecs of a request: of its body, and of the answers that its client takes (`accept`, as RFC 9110
//! has it).

use http::{HeaderMap, HeaderValue, header};

use crate::{codec::Codec, error::UnknownMediaType};

/// A media range, and how much it is wanted.
struct Range<'a> {
    name: &'a str,
    /// Thousandths.
    weight: u16,
    /// Where it stands among the client's.
    place: usize,
}

/// Most ranges that are looked at; nobody has more.
const MOST: usize = 64;

/// How near a range is to a media type: everything, a type, or the media type itself.
type Nearness = u8;

impl Codec {
    /// Codec of a request's body by its `content-type`; JSON if there is none.
    pub fn of_request(headers: &HeaderMap) -> Result<Self, UnknownMediaType> {
        let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Json) };
        let found = found.to_str().unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim();
        Self::of_media_type(essence).ok_or_else(|| UnknownMediaType(found.to_owned()))
    }

    /// Codec that the client prefers for an answer by its `accept`, JSON if there is none; `None` if
    /// the client accepts no codec.
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        choose(headers)
    }
}

/// The codec that is wanted most; at the same weight, the one that the client names first. None
/// where the client takes nothing of what there is.
fn choose(headers: &HeaderMap) -> Option<Codec> {
    let values = headers.get_all(header::ACCEPT);
    let mut all = values.iter();
    let Some(first) = all.next() else { return Some(Codec::Json) };
    let is_only = all.next().is_none();
    if is_only && matches!(first.as_bytes(), b"application/json" | b"*/*" | b"text/event-stream") {
        return Some(Codec::Json);
    }
    let is_empty = values.iter().all(HeaderValue::is_empty);
    let texts =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let texts = texts.map(str::trim).filter(|text| !text.is_empty()).take(MOST);
    let ranges: Vec<_> = texts.enumerate().filter_map(|(at, text)| Range::read(text, at)).collect();
    if is_empty {
        return Some(Codec::Json);
    }
    let wanted = |codec: &Codec| Some((wanted(*codec, &ranges)?, *codec));
    let wanted = Codec::ALL.iter().filter_map(wanted).filter(|((weight, _), _)| *weight > 0);
    // Of those that are equal the first stays, which is JSON for a range that has all.
    let better = |best: ((u16, usize), Codec), other: ((u16, usize), Codec)| {
        let ((weight, place), _) = other;
        let ((most, first), _) = best;
        if weight > most || weight == most && place < first { other } else { best }
    };
    wanted.reduce(better).map(|(_, codec)| codec)
}

/// How much a codec is wanted, and where that stands; none where nothing is said of it.
fn wanted(codec: Codec, ranges: &[Range<'_>]) -> Option<(u16, usize)> {
    let of = |name: &str, least: Nearness| {
        let near = ranges.iter().filter_map(|range| Some((range.nearness(name)?, range)));
        let near = near.filter(|(nearness, _)| *nearness >= least);
        // Of ranges that are as near, the first.
        let nearest = near.reduce(|best, other| if other.0 > best.0 { other } else { best });
        nearest.map(|(_, range)| (range.weight, range.place))
    };
    let (name, others) = codec.names().split_first()?;
    // Other names of it count where the client uses them: it may exclude one and have the rest.
    let others = others.iter().map(|other| of(other, 2));
    // Streams are events there; `*/*` says as much of both.
    let streams = (codec == Codec::Json).then(|| of("text/event-stream", 1));
    let names = std::iter::once(of(name, 0)).chain(others);
    let said: Vec<_> = names.chain(streams).flatten().collect();
    let most = said.iter().map(|(weight, _)| *weight).max()?;
    said.into_iter().filter(|(weight, _)| *weight == most).min_by_key(|(_, place)| *place)
}

impl<'a> Range<'a> {
    /// None where it is not one.
    fn read(text: &'a str, place: usize) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().filter(|name| name.contains('/'))?;
        let mut weight = 1000;
        for part in parts {
            let Some((key, value)) = part.split_once('=') else { continue };
            if key.trim().eq_ignore_ascii_case("q") {
                weight = thousandths(value.trim())?;
            }
        }
        Some(Self { name, weight, place })
    }

    fn nearness(&self, name: &str) -> Option<Nearness> {
        if self.name.eq_ignore_ascii_case(name) {
            return Some(2);
        }
        match self.name.split_once('/')? {
            ("*", "*") => Some(0),
            (kind, "*") => name
                .split_once('/')
                .is_some_and(|(of, _)| of.eq_ignore_ascii_case(kind))
                .then_some(1),
            _ => None,
        }
    }
}

/// A weight: 0 to 1 with three digits at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_short = rest.len() <= 3 && rest.bytes().all(|digit| digit.is_ascii_digit());
    let rest = format!("{rest:0<3}").parse::<u16>().ok().filter(|_| is_short)?;
    match (whole, rest) {
        ("0", rest) => Some(rest),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &[&str]) -> Option<Codec> {
        let pair = |text: &&str| (header::ACCEPT, text.parse().expect("a value"));
        choose(&accept.iter().map(pair).collect())
    }

    #[test]
    fn the_client_chooses() {
        let cases: &[(&[&str], Option<Codec>)] = &[
            (&[], Some(Codec::Json)),
            (&[""], Some(Codec::Json)),
            (&["*/*"], Some(Codec::Json)),
            (&["application/*"], Some(Codec::Json)),
            (&["text/event-stream"], Some(Codec::Json)),
            (&["text/*"], Some(Codec::Json)),
            (&["application/cbor"], Some(Codec::Cbor)),
            (&["Application/CBOR ; q=0.1"], Some(Codec::Cbor)),
            (&["application/msgpack; framing=length-delimited"], Some(Codec::MessagePack)),
            (&["application/x-msgpack"], Some(Codec::MessagePack)),
            (&["application/vnd.msgpack"], Some(Codec::MessagePack)),
            // The most wanted, then the first.
            (&["application/json;q=0.5, application/cbor"], Some(Codec::Cbor)),
            (&["application/json;q=0.5", "application/cbor"], Some(Codec::Cbor)),
            (&["application/cbor, application/json"], Some(Codec::Cbor)),
            (&["application/json, application/cbor"], Some(Codec::Json)),
            (&["application/cbor, */*"], Some(Codec::Cbor)),
            (&["*/*, application/cbor"], Some(Codec::Json)),
            (&["application/cbor;q=0.501, application/msgpack;q=0.5"], Some(Codec::Cbor)),
            // The nearest range says how much.
            (&["application/json;q=0, */*"], Some(Codec::MessagePack)),
            (&["*/*, application/json;q=0.1"], Some(Codec::MessagePack)),
            (&["application/*;q=0, */*"], None),
            (&["application/json;q=0, application/*"], Some(Codec::MessagePack)),
            (&["application/json;q=0, application/msgpack;q=0, */*;q=0.2"], Some(Codec::Cbor)),
            (&["text/html, application/cbor;q=0.3"], Some(Codec::Cbor)),
            // Nothing of it.
            (&["text/html"], None),
            (&["application/json;q=0"], None),
            (&["*/*;q=0"], None),
            (&["application/cbor;q=2"], None),
            (&["application/cbor;q=0.0001"], None),
            (&["json"], None),
        ];
        for (accept, expected) in cases {
            assert_eq!(chosen(accept), *expected, "{accept:?}");
        }
    }
}
