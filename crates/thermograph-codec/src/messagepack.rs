//! MessagePack, read and written.

use rmp::{Marker, encode};

use crate::{
    error::{CodecError, DEPTH, Problem},
    lengths::{self, Lengths},
    sink::{Sink, pack},
};

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

impl<'a, S: Sink> Reader<'a, S> {
    fn value(&mut self, depth: usize) -> Result<(), CodecError> {
        if self.sink.written() > self.limit {
            return Err(Problem::TooLarge.into());
        }
        let marker = self.marker()?;
        let told = match marker {
            Marker::Null => self.sink.null(),
            Marker::True => self.sink.bool(true),
            Marker::False => self.sink.bool(false),
            Marker::FixPos(value) => self.sink.u64(value.into()),
            Marker::U8 => self.array().map(u8::from_be_bytes).and_then(|v| self.sink.u64(v.into())),
            Marker::U16 => {
                self.array().map(u16::from_be_bytes).and_then(|v| self.sink.u64(v.into()))
            }
            Marker::U32 => {
                self.array().map(u32::from_be_bytes).and_then(|v| self.sink.u64(v.into()))
            }
            Marker::U64 => self.array().map(u64::from_be_bytes).and_then(|v| self.sink.u64(v)),
            Marker::FixNeg(value) => self.sink.i64(value.into()),
            Marker::I8 => self.array().map(i8::from_be_bytes).and_then(|v| self.sink.i64(v.into())),
            Marker::I16 => {
                self.array().map(i16::from_be_bytes).and_then(|v| self.sink.i64(v.into()))
            }
            Marker::I32 => {
                self.array().map(i32::from_be_bytes).and_then(|v| self.sink.i64(v.into()))
            }
            Marker::I64 => self.array().map(i64::from_be_bytes).and_then(|v| self.sink.i64(v)),
            Marker::F32 => self.array().map(f32::from_be_bytes).and_then(|v| self.sink.f32(v)),
            Marker::F64 => self.array().map(f64::from_be_bytes).and_then(|v| self.sink.f64(v)),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                self.length(marker).and_then(|n| self.take(n)).and_then(|v| self.sink.bytes(v))
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                self.text(marker).and_then(|text| self.sink.text(text))
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                return self.list(marker, depth);
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => return self.map(marker, depth),
            marker => Err(self.refuse(marker)),
        };
        Ok(told?)
    }

    fn list(&mut self, marker: Marker, depth: usize) -> Result<(), CodecError> {
        let length = self.begin(marker, depth)?;
        self.sink.begin_list(Some(length))?;
        for index in 0..length {
            self.value(depth + 1).map_err(|error| error.at_index(index))?;
        }
        Ok(self.sink.end_list()?)
    }

    fn map(&mut self, marker: Marker, depth: usize) -> Result<(), CodecError> {
        let length = self.begin(marker, depth)?;
        self.sink.begin_map(Some(length))?;
        for _ in 0..length {
            let key = self.key()?;
            self.sink.key(key)?;
            self.value(depth + 1).map_err(|error| error.at_key(key))?;
        }
        Ok(self.sink.end_map()?)
    }

    fn begin(&mut self, marker: Marker, depth: usize) -> Result<usize, Problem> {
        if depth == DEPTH {
            return Err(Problem::TooDeep);
        }
        let length = self.length(marker)?;
        // Each value has a byte at least.
        if length > self.left.len() { Err(Problem::Ended) } else { Ok(length) }
    }

    fn key(&mut self) -> Result<&'a str, Problem> {
        match self.marker()? {
            marker @ (Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => {
                self.text(marker)
            }
            marker => Err(Problem::Key(kind(marker))),
        }
    }

    fn text(&mut self, marker: Marker) -> Result<&'a str, Problem> {
        let length = self.length(marker)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Problem::Utf8)
    }

    /// The length that a marker has, or that stands after it.
    fn length(&mut self, marker: Marker) -> Result<usize, Problem> {
        Ok(match marker {
            Marker::FixStr(n) | Marker::FixArray(n) | Marker::FixMap(n) => n.into(),
            Marker::Str8 | Marker::Bin8 => u8::from_be_bytes(self.array()?).into(),
            Marker::Str16 | Marker::Bin16 | Marker::Array16 | Marker::Map16 => {
                u16::from_be_bytes(self.array()?).into()
            }
            _ => u32::from_be_bytes(self.array()?).try_into().map_err(|_| Problem::Length)?,
        })
    }

    fn refuse(&mut self, marker: Marker) -> Problem {
        let after = match marker {
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16 => 0,
            Marker::Ext8 => 1,
            Marker::Ext16 => 2,
            Marker::Ext32 => 4,
            marker => return Problem::Byte(marker.to_u8()),
        };
        match self.left.get(after) {
            Some(kind) => Problem::Extension(kind.cast_signed()),
            None => Problem::Ended,
        }
    }

    fn marker(&mut self) -> Result<Marker, Problem> {
        self.array().map(|[byte]| Marker::from_u8(byte))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (taken, left) = self.left.split_at_checked(length).ok_or(Problem::Ended)?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Problem::Ended)?;
        self.left = left;
        Ok(*taken)
    }
}

/// What a marker is of, in words.
fn kind(marker: Marker) -> &'static str {
    match marker {
        Marker::Null => "nil",
        Marker::True | Marker::False => "a boolean",
        Marker::F32 | Marker::F64 => "a float",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "a list",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        Marker::FixPos(_)
        | Marker::FixNeg(_)
        | Marker::U8
        | Marker::U16
        | Marker::U32
        | Marker::U64
        | Marker::I8
        | Marker::I16
        | Marker::I32
        | Marker::I64 => "an integer",
        _ => "an extension",
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, lengths: Lengths::default() }
    }

    fn end(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Some((at, items)) = self.lengths.end() else { return Ok(()) };
        let mut header = Vec::with_capacity(5);
        write(&mut header, items)?;
        lengths::put(self.out, at, &header);
        Ok(())
    }
}

// Writing to a vector does not fail.
impl Sink for Writer<'_> {
    fn null(&mut self) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_nil(self.out).map_err(|_| Problem::Length)
    }

    fn bool(&mut self, value: bool) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_bool(self.out, value).map_err(|_| Problem::Length)
    }

    fn u64(&mut self, value: u64) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_uint(self.out, value).map(drop).map_err(|_| Problem::Length)
    }

    fn i64(&mut self, value: i64) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_sint(self.out, value).map(drop).map_err(|_| Problem::Length)
    }

    fn f64(&mut self, value: f64) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_f64(self.out, value).map_err(|_| Problem::Length)
    }

    fn f32(&mut self, value: f32) -> Result<(), Problem> {
        self.lengths.item();
        encode::write_f32(self.out, value).map_err(|_| Problem::Length)
    }

    fn text(&mut self, value: &str) -> Result<(), Problem> {
        self.lengths.item();
        length(value.len())?;
        encode::write_str(self.out, value).map_err(|_| Problem::Length)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.lengths.item();
        length(value.len())?;
        encode::write_bin(self.out, value).map_err(|_| Problem::Length)
    }

    fn vector(&mut self, values: &[f32]) -> Result<(), Problem> {
        self.lengths.item();
        let length = length(size_of_val(values))?;
        encode::write_bin_len(self.out, length).map_err(|_| Problem::Length)?;
        pack(values, self.out);
        Ok(())
    }

    fn begin_list(&mut self, known: Option<usize>) -> Result<(), Problem> {
        self.lengths.item();
        self.lengths.begin(self.out, known.is_some());
        known.map_or(Ok(()), |known| list(self.out, known))
    }

    fn end_list(&mut self) -> Result<(), Problem> {
        self.end(list)
    }

    fn begin_map(&mut self, known: Option<usize>) -> Result<(), Problem> {
        self.lengths.item();
        self.lengths.begin(self.out, known.is_some());
        known.map_or(Ok(()), |known| map(self.out, known))
    }

    fn key(&mut self, key: &str) -> Result<(), Problem> {
        self.text(key)
    }

    fn end_map(&mut self) -> Result<(), Problem> {
        self.end(|header, items| map(header, items / 2))
    }

    fn written(&self) -> usize {
        self.out.len()
    }
}

fn list(out: &mut Vec<u8>, items: usize) -> Result<(), Problem> {
    encode::write_array_len(out, length(items)?).map(drop).map_err(|_| Problem::Length)
}

fn map(out: &mut Vec<u8>, pairs: usize) -> Result<(), Problem> {
    encode::write_map_len(out, length(pairs)?).map(drop).map_err(|_| Problem::Length)
}

fn length(length: usize) -> Result<u32, Problem> {
    length.try_into().map_err(|_| Problem::Length)
}
