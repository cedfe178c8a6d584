//! JSON, read and written.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Serialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::{
    error::{CodecError, Problem},
    sink::Sink,
};

/// Tells the sink what the bytes are.
pub(super) fn read(bytes: &[u8], limit: usize, sink: &mut impl Sink) -> Result<(), CodecError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let told = json.deserialize_any(Teller { sink, limit }).and_then(|()| json.end());
    told.map_err(|error| {
        // Problems of the sink come through serde's errors, which are text.
        let is_too_large = error.is_data() && sink.written() > limit;
        if is_too_large { Problem::TooLarge.into() } else { Problem::Json(error).into() }
    })
}

/// Writes to the end of a buffer, without spaces.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Whether a comma comes before the next key or value.
    is_next: bool,
}

/// Tells a sink what is read.
struct Teller<'a, S> {
    sink: &'a mut S,
    limit: usize,
}

/// The key of a pair.
struct Key<'a, S>(&'a mut S);

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_next: false }
    }

    fn write(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Problem> {
        self.comma();
        Ok(serde_json::to_writer(&mut *self.out, value)?)
    }

    fn comma(&mut self) {
        if self.is_next {
            self.out.push(b',');
        }
        self.is_next = true;
    }

    fn begin(&mut self, with: u8) {
        self.comma();
        self.out.push(with);
        self.is_next = false;
    }

    fn end(&mut self, with: u8) {
        self.out.push(with);
        self.is_next = true;
    }
}

impl Sink for Writer<'_> {
    fn null(&mut self) -> Result<(), Problem> {
        self.write(&())
    }

    fn bool(&mut self, value: bool) -> Result<(), Problem> {
        self.write(&value)
    }

    fn u64(&mut self, value: u64) -> Result<(), Problem> {
        self.write(&value)
    }

    fn i64(&mut self, value: i64) -> Result<(), Problem> {
        self.write(&value)
    }

    fn f64(&mut self, value: f64) -> Result<(), Problem> {
        // serde_json would write `null`.
        if value.is_finite() { self.write(&value) } else { Err(Problem::NotFinite(value)) }
    }

    fn f32(&mut self, value: f32) -> Result<(), Problem> {
        if value.is_finite() { self.write(&value) } else { Err(Problem::NotFinite(value.into())) }
    }

    fn text(&mut self, value: &str) -> Result<(), Problem> {
        self.write(value)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.write(&STANDARD.encode(value))
    }

    fn vector(&mut self, values: &[f32]) -> Result<(), Problem> {
        match values.iter().find(|value| !value.is_finite()) {
            None => self.write(values),
            Some(value) => Err(Problem::NotFinite((*value).into())),
        }
    }

    fn begin_list(&mut self, _: Option<usize>) -> Result<(), Problem> {
        self.begin(b'[');
        Ok(())
    }

    fn end_list(&mut self) -> Result<(), Problem> {
        self.end(b']');
        Ok(())
    }

    fn begin_map(&mut self, _: Option<usize>) -> Result<(), Problem> {
        self.begin(b'{');
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), Problem> {
        self.write(key)?;
        self.out.push(b':');
        self.is_next = false;
        Ok(())
    }

    fn end_map(&mut self) -> Result<(), Problem> {
        self.end(b'}');
        Ok(())
    }

    fn written(&self) -> usize {
        self.out.len()
    }
}

impl<S: Sink> Teller<'_, S> {
    fn next(&mut self) -> Teller<'_, S> {
        Teller { sink: self.sink, limit: self.limit }
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Teller<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.sink.written() > self.limit {
            return Err(D::Error::custom(Problem::TooLarge));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Teller<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.sink.null().map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.sink.bool(value).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.sink.u64(value).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.sink.i64(value).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.sink.f64(value).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.sink.text(value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.sink.begin_list(None).map_err(A::Error::custom)?;
        while list.next_element_seed(self.next())?.is_some() {}
        self.sink.end_list().map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.sink.begin_map(None).map_err(A::Error::custom)?;
        while map.next_key_seed(Key(self.sink))?.is_some() {
            map.next_value_seed(self.next())?;
        }
        self.sink.end_map().map_err(A::Error::custom)
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Key<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<S: Sink> Visitor<'_> for Key<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        self.0.key(key).map_err(E::custom)
    }
}
