//! Models: those with a `dir` are here, those with `upstreams` elsewhere.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
    ser::SerializeMap as _,
};
use toml::{Table, Value};

use crate::service::{self, engine, upstream::RouteConfig};

/// Models by name; given at all, they replace the default one.
#[derive(Clone, Debug)]
pub struct Models {
    /// Those of the local engine.
    pub local: BTreeMap<String, engine::ModelConfig>,
    /// Those of upstreams.
    pub upstream: BTreeMap<String, RouteConfig>,
}

impl Default for Models {
    fn default() -> Self {
        Self { local: service::Config::default().models, upstream: BTreeMap::new() }
    }
}

impl Serialize for Models {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, model) in &self.local {
            map.serialize_entry(name, model)?;
        }
        for (name, model) in &self.upstream {
            map.serialize_entry(name, model)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Tables)
    }
}

struct Tables;

impl<'de> Visitor<'de> for Tables {
    type Value = Models;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table for each model, with `dir` or `upstreams`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Models, A::Error> {
        let mut models = Models { local: BTreeMap::new(), upstream: BTreeMap::new() };
        while let Some(name) = map.next_key::<String>()? {
            let table: Table = map.next_value()?;
            if table.contains_key("upstreams") {
                models.upstream.insert(name, read(table).map_err(A::Error::custom)?);
            } else if table.contains_key("dir") {
                models.local.insert(name, read(table).map_err(A::Error::custom)?);
            } else {
                let message = "missing field `dir` of a local model, or `upstreams` of another";
                return Err(A::Error::custom(message));
            }
        }
        Ok(models)
    }
}

/// A model's table; an error begins with the key.
fn read<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let message = error.inner().message().to_owned();
        match error.path().to_string().as_str() {
            "." => message,
            path => format!("{path}: {message}"),
        }
    })
}
