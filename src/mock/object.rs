//! JSON objects that are read into structs.
//!
//! serde reads a struct from an array too, field by field in their order: `["gpt", true]` would be a
//! request. Clients have to send an object.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::refusal::Refusal;

/// A struct that is read from an object only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<T>(pub(super) T);

/// Reads a body that is an object.
pub(super) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Refusal> {
    let read = serde_json::from_slice(body);
    read.map(|Object(inner)| inner).map_err(|error| Refusal::bad_json(&error))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        raw: &'a RawValue,
        inner: Option<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        flag: bool,
    }

    #[test]
    fn object_is_read_and_borrowed_from() {
        let json = r#"{ "raw": [1,  2], "inner": { "flag": true } }"#;
        let Object(outer): Object<Outer<'_>> = serde_json::from_str(json).expect("an object");
        assert_eq!(outer.raw.get(), "[1,  2]");
        assert!(outer.inner.is_some_and(|Object(inner)| inner.flag));
    }

    #[test]
    fn array_is_refused_also_inside() {
        for json in ["[[1], null]", r#"{ "raw": 1, "inner": [true] }"#] {
            let error = serde_json::from_str::<Object<Outer<'_>>>(json).expect_err(json);
            let error = error.to_string();
            assert!(error.starts_with("invalid type: sequence, expected a JSON object"), "{error}");
        }
    }
}
