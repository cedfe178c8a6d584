//! Models: those with a `dir` are here, those with `upstreams` elsewhere.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
    ser::SerializeMap as _,
};
use thermograph_service::upstream::RouteConfig;
use toml::{Table, Value};

/// Models by name. The default local one is there unless another local one is given.
#[derive(Clone, Debug)]
pub struct Models {
    /// Those of the local engine.
    pub local: BTreeMap<String, thermograph_engine::ModelConfig>,
    /// Those of upstreams.
    pub upstream: BTreeMap<String, RouteConfig>,
}

impl Default for Models {
    fn default() -> Self {
        Self { local: thermograph_service::Config::default().models, upstream: BTreeMap::new() }
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
            let bad = |(path, message): (String, String)| {
                A::Error::custom(format!("{name}{path}: {message}"))
            };
            match read(map.next_value()?).map_err(bad)? {
                Model::Local(model) => drop(models.local.insert(name, model)),
                Model::Upstream(model) => drop(models.upstream.insert(name, model)),
            }
        }
        if models.local.is_empty() {
            models.local = Models::default().local;
            // A model with its name that is upstream takes its place.
            models.local.retain(|name, _| !models.upstream.contains_key(name));
        }
        Ok(models)
    }
}

/// A model of either kind.
enum Model {
    Local(thermograph_engine::ModelConfig),
    Upstream(RouteConfig),
}

/// Reads the models: the path of what is wrong, and why it is.
pub(super) fn check(models: &Table) -> Result<(), (String, String)> {
    for (name, model) in models {
        read(model.clone()).map_err(|(path, message)| (format!("models.{name}{path}"), message))?;
    }
    Ok(())
}

/// Reads a model; an error is the path in it, which begins with a dot or is empty, and why.
fn read(model: Value) -> Result<Model, (String, String)> {
    if model.get("upstreams").is_some() {
        typed(model).map(Model::Upstream)
    } else if model.get("dir").is_some() {
        typed(model).map(Model::Local)
    } else {
        let message = "missing field `dir` of a local model, or `upstreams` of another; a name \
                       with dots is in quotes, as in [models.\"gpt-4.1\"]";
        Err((String::new(), message.to_owned()))
    }
}

fn typed<T: DeserializeOwned>(model: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(model).map_err(|error| {
        let message = error.inner().message().to_owned();
        match error.path().to_string().as_str() {
            "." => (String::new(), message),
            path => (format!(".{path}"), message),
        }
    })
}
