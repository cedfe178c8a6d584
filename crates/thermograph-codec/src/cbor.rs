//! CBOR (RFC 8949), read and written.

use std::borrow::Cow;

use crate::{
    error::{CodecError, DEPTH, Problem},
    lengths::{self, Lengths},
    sink::{Sink, pack},
};

// Major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

// How many bytes a number has that follows.
const OF_1: u8 = 24;
const OF_2: u8 = 25;
const OF_4: u8 = 26;
const OF_8: u8 = 27;

/// An integer of any length, positive and negative.
const BIG: std::ops::RangeInclusive<u64> = 2..=3;
/// Little-endian 32-bit floats (RFC 8746).
const FLOATS: u64 = 85;
/// Ends what has no length.
const BREAK: u8 = 0xff;

/// Tells the sink what the bytes are.
pub(super) fn read(bytes: &[u8], limit: usize, sink: &mut impl Sink) -> Result<(), CodecError> {
    let mut reader = Reader { left: bytes, limit, sink };
    reader.value(0)?;
    match reader.left.len() {
        0 => Ok(()),
        left => Err(Problem::Trailing(left).into()),
    }
}

/// Writes to the end of a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    lengths: Lengths,
}

struct Reader<'a, S> {
    left: &'a [u8],
    limit: usize,
    sink: &'a mut S,
}

/// What a value begins with.
#[derive(Clone, Copy)]
struct Head {
    byte: u8,
    /// The number that belongs to it; none where its end is marked.
    argument: Option<u64>,
}

impl<'a, S: Sink> Reader<'a, S> {
    fn value(&mut self, depth: usize) -> Result<(), CodecError> {
        if self.sink.written() > self.limit {
            return Err(Problem::TooLarge.into());
        }
        let mut head = self.head()?;
        while head.major() == TAG {
            let tag = head.number()?;
            head = self.head()?;
            if BIG.contains(&tag) && head.major() == BYTES {
                return Err(Problem::Integer.into());
            }
        }
        let told = match head.major() {
            UNSIGNED => head.number().and_then(|value| self.sink.u64(value)),
            NEGATIVE => negative(head.number()?).and_then(|value| self.sink.i64(value)),
            BYTES => self.string(head).and_then(|bytes| self.sink.bytes(&bytes)),
            TEXT => self.text(head).and_then(|text| self.sink.text(&text)),
            LIST => return self.list(head, depth),
            MAP => return self.map(head, depth),
            _ => self.simple(head),
        };
        Ok(told?)
    }

    fn list(&mut self, head: Head, depth: usize) -> Result<(), CodecError> {
        let length = self.begin(head, depth)?;
        self.sink.begin_list(length)?;
        let mut index = 0;
        while !self.is_over(index, length) {
            self.value(depth + 1).map_err(|error| error.at_index(index))?;
            index += 1;
        }
        Ok(self.sink.end_list()?)
    }

    fn map(&mut self, head: Head, depth: usize) -> Result<(), CodecError> {
        let length = self.begin(head, depth)?;
        self.sink.begin_map(length)?;
        let mut pairs = 0;
        while !self.is_over(pairs, length) {
            let key = self.key()?;
            self.sink.key(&key)?;
            self.value(depth + 1).map_err(|error| error.at_key(&key))?;
            pairs += 1;
        }
        Ok(self.sink.end_map()?)
    }

    fn begin(&mut self, head: Head, depth: usize) -> Result<Option<usize>, Problem> {
        if depth == DEPTH {
            return Err(Problem::TooDeep);
        }
        let Some(length) = head.argument else { return Ok(None) };
        // Each value has a byte at least.
        let fits = usize::try_from(length).ok().filter(|length| *length <= self.left.len());
        fits.map(Some).ok_or(Problem::Ended)
    }

    /// Whether a list or map ends here.
    fn is_over(&mut self, items: usize, length: Option<usize>) -> bool {
        if let Some(length) = length {
            return items == length;
        }
        let is_over = self.left.first() == Some(&BREAK);
        if is_over {
            self.left = &self.left[1..];
        }
        is_over
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Problem> {
        let head = self.head()?;
        match head.major() {
            TEXT => self.text(head),
            UNSIGNED | NEGATIVE => Err(Problem::Key("an integer")),
            BYTES => Err(Problem::Key("bytes")),
            LIST => Err(Problem::Key("a list")),
            MAP => Err(Problem::Key("a map")),
            TAG => Err(Problem::Key("tagged")),
            _ => Err(Problem::Key("a simple value or a float")),
        }
    }

    fn text(&mut self, head: Head) -> Result<Cow<'a, str>, Problem> {
        match self.string(head)? {
            Cow::Borrowed(bytes) => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Problem::Utf8)
            }
            Cow::Owned(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Problem::Utf8)
            }
        }
    }

    /// Bytes or text: at once, or in pieces of the same kind until a break.
    fn string(&mut self, head: Head) -> Result<Cow<'a, [u8]>, Problem> {
        if head.argument.is_some() {
            return self.piece(head).map(Cow::Borrowed);
        }
        let mut all = Vec::new();
        loop {
            if self.is_over(0, None) {
                return Ok(Cow::Owned(all));
            }
            let piece = self.head()?;
            if piece.major() != head.major() {
                return Err(Problem::Byte(piece.byte));
            }
            all.extend_from_slice(self.piece(piece)?);
        }
    }

    fn piece(&mut self, head: Head) -> Result<&'a [u8], Problem> {
        let length = head.number()?.try_into().map_err(|_| Problem::Ended)?;
        let (taken, left) = self.left.split_at_checked(length).ok_or(Problem::Ended)?;
        self.left = left;
        Ok(taken)
    }

    fn simple(&mut self, head: Head) -> Result<(), Problem> {
        let argument = head.number()?;
        match head.byte & 0x1f {
            20 | 21 => self.sink.bool(argument == 21),
            // Undefined is null in JSON, too (RFC 8949, 6.1).
            22 | 23 => self.sink.null(),
            OF_2 => self.sink.f32(half(argument as u16)),
            OF_4 => self.sink.f32(f32::from_bits(argument as u32)),
            OF_8 => self.sink.f64(f64::from_bits(argument)),
            _ => Err(Problem::Simple(argument as u8)),
        }
    }

    fn head(&mut self) -> Result<Head, Problem> {
        let [byte] = self.array()?;
        let argument = match byte & 0x1f {
            small @ 0..=23 => Some(small.into()),
            OF_1 => Some(u8::from_be_bytes(self.array()?).into()),
            OF_2 => Some(u16::from_be_bytes(self.array()?).into()),
            OF_4 => Some(u32::from_be_bytes(self.array()?).into()),
            OF_8 => Some(u64::from_be_bytes(self.array()?)),
            31 if (BYTES..=MAP).contains(&(byte >> 5)) => None,
            _ => return Err(Problem::Byte(byte)),
        };
        Ok(Head { byte, argument })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Problem::Ended)?;
        self.left = left;
        Ok(*taken)
    }
}

impl Head {
    fn major(self) -> u8 {
        self.byte >> 5
    }

    fn number(self) -> Result<u64, Problem> {
        self.argument.ok_or(Problem::Byte(self.byte))
    }
}

/// The integer -1 - `argument`.
fn negative(argument: u64) -> Result<i64, Problem> {
    i64::try_from(argument).map(|value| -1 - value).map_err(|_| Problem::Integer)
}

/// A float of 16 bits: each is one of 32, too.
fn half(bits: u16) -> f32 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (fraction + 1024.0) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, lengths: Lengths::default() }
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        self.lengths.item();
        head(self.out, major, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn begin(&mut self, major: u8, known: Option<usize>) {
        self.lengths.item();
        self.lengths.begin(self.out, known.is_some());
        if let Some(known) = known {
            head(self.out, major, known as u64);
        }
    }

    fn end(&mut self, major: u8, items_each: usize) {
        let Some((at, items)) = self.lengths.end() else { return };
        let mut header = Vec::with_capacity(9);
        head(&mut header, major, (items / items_each) as u64);
        lengths::put(self.out, at, &header);
    }
}

impl Sink for Writer<'_> {
    fn null(&mut self) -> Result<(), Problem> {
        self.lengths.item();
        head(self.out, SIMPLE, 22);
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Result<(), Problem> {
        self.lengths.item();
        head(self.out, SIMPLE, 20 + u64::from(value));
        Ok(())
    }

    fn u64(&mut self, value: u64) -> Result<(), Problem> {
        self.lengths.item();
        head(self.out, UNSIGNED, value);
        Ok(())
    }

    fn i64(&mut self, value: i64) -> Result<(), Problem> {
        self.lengths.item();
        let major = if value < 0 { NEGATIVE } else { UNSIGNED };
        // -1 - n is !n.
        let argument = if value < 0 { !value } else { value };
        head(self.out, major, argument.cast_unsigned());
        Ok(())
    }

    fn f64(&mut self, value: f64) -> Result<(), Problem> {
        self.lengths.item();
        self.out.push(SIMPLE << 5 | OF_8);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn f32(&mut self, value: f32) -> Result<(), Problem> {
        self.lengths.item();
        self.out.push(SIMPLE << 5 | OF_4);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn text(&mut self, value: &str) -> Result<(), Problem> {
        self.string(TEXT, value.as_bytes());
        Ok(())
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.string(BYTES, value);
        Ok(())
    }

    fn vector(&mut self, values: &[f32]) -> Result<(), Problem> {
        self.lengths.item();
        head(self.out, TAG, FLOATS);
        head(self.out, BYTES, size_of_val(values) as u64);
        pack(values, self.out);
        Ok(())
    }

    fn begin_list(&mut self, known: Option<usize>) -> Result<(), Problem> {
        self.begin(LIST, known);
        Ok(())
    }

    fn end_list(&mut self) -> Result<(), Problem> {
        self.end(LIST, 1);
        Ok(())
    }

    fn begin_map(&mut self, known: Option<usize>) -> Result<(), Problem> {
        self.begin(MAP, known);
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), Problem> {
        self.text(key)
    }

    fn end_map(&mut self) -> Result<(), Problem> {
        self.end(MAP, 2);
        Ok(())
    }

    fn written(&self) -> usize {
        self.out.len()
    }
}

/// A major type with its number, as short as it can be.
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if argument < 24 {
        out.push(major | argument as u8);
    } else if let Ok(argument) = u8::try_from(argument) {
        out.extend_from_slice(&[major | OF_1, argument]);
    } else if let Ok(argument) = u16::try_from(argument) {
        out.push(major | OF_2);
        out.extend_from_slice(&argument.to_be_bytes());
    } else if let Ok(argument) = u32::try_from(argument) {
        out.push(major | OF_4);
        out.extend_from_slice(&argument.to_be_bytes());
    } else {
        out.push(major | OF_8);
        out.extend_from_slice(&argument.to_be_bytes());
    }
}
