//! The configuration of a model that lives upstream.

use std::{collections::BTreeMap, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as optional_duration;
use serde::{Deserialize, Serialize};
use thermograph_common::{Invalid, is_name};

use super::UpstreamConfig;
use crate::pattern;

/// A model that lives upstream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Those that share its load.
    pub upstreams: Vec<MemberConfig>,
    /// Those asked when none of these can answer, in this order. Default is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<MemberConfig>,
    /// What it is called upstream; a `*` in it stands for the same as that in the model's name. Default
    /// is the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    /// What requests have in common that go to the same upstream, for its cache of keys and
    /// values. Default is nothing: the load decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyConfig>,
    /// After this time without an answer a second upstream is asked too, and the first answer
    /// counts. Default is never.
    #[serde(with = "optional_duration", default, skip_serializing_if = "Option::is_none")]
    pub hedge_after: Option<Duration>,
}

/// An upstream in a model's list: its name, or a table with its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(from = "Written", into = "Written")]
pub struct MemberConfig {
    /// Name of the upstream.
    pub name: String,
    /// Its share of the load, relative to the others'. Default is 1.
    pub weight: u32,
    /// What the model is called there. Default is the model's own `rename`.
    pub rename: Option<String>,
}

/// What requests have in common that go to the same upstream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyConfig {
    /// The value of this header.
    Header(String),
    /// So many bytes at the beginning of the prompt or the messages.
    Prefix(usize),
}

/// A member as it is written.
#[derive(Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "the name of an upstream, or a table with `name`, `weight` and `rename`"
)]
enum Written {
    Name(String),
    Table(Table),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rename: Option<String>,
}

impl RouteConfig {
    /// Most upstreams of one model.
    pub(crate) const MEMBERS: usize = 64;

    /// Checks what the types cannot say; `upstreams` are those that there are.
    pub(crate) fn validate(
        &self,
        model: &str,
        upstreams: &BTreeMap<String, UpstreamConfig>,
    ) -> Result<(), Invalid> {
        let field = |key: &str| format!("models.{model}.{key}");
        self.validate_names(model)?;
        let lists = [("upstreams", &self.upstreams), ("fallbacks", &self.fallbacks)];
        if self.upstreams.is_empty() {
            return Err(Invalid::new(field("upstreams"), "[]", "at least one upstream"));
        }
        let members = self.upstreams.len() + self.fallbacks.len();
        if members > Self::MEMBERS {
            let allowed = format!("at most {} with the fallbacks", Self::MEMBERS);
            return Err(Invalid::new(field("upstreams"), members, allowed));
        }
        for (key, list) in lists {
            for (place, member) in list.iter().enumerate() {
                let MemberConfig { name, weight, .. } = member;
                if !upstreams.contains_key(name) {
                    let known: Vec<_> = upstreams.keys().map(String::as_str).collect();
                    let known = match known.as_slice() {
                        [] => "there are none".to_owned(),
                        known => format!("which are: {}", known.join(", ")),
                    };
                    let allowed = format!("`{name}` is no name of `[upstreams.…]`, {known}");
                    return Err(Invalid::new(field(key), name, allowed));
                }
                if list[..place].iter().any(|before| before.name == *name) {
                    return Err(Invalid::new(field(key), name, "each upstream once"));
                }
                if !(1..=1000).contains(weight) {
                    return Err(Invalid::new(field(key), weight, "a weight of 1 to 1000"));
                }
            }
        }
        match &self.sticky {
            Some(StickyConfig::Header(name))
                if name.contains('*') || name.parse::<http::HeaderName>().is_err() =>
            {
                return Err(Invalid::new(field("sticky.header"), name, "the name of a header"));
            }
            Some(StickyConfig::Prefix(bytes)) if !(1..=1 << 20).contains(bytes) => {
                return Err(Invalid::new(field("sticky.prefix"), bytes, "1 to 1048576"));
            }
            _ => {}
        }
        if let Some(after) = self.hedge_after {
            let allowed = Duration::from_millis(1)..=Duration::from_hours(1);
            Invalid::unless_within(field("hedge_after"), after, allowed)?;
        }
        Ok(())
    }
}

impl RouteConfig {
    /// Checks the names of the model, here and upstream.
    fn validate_names(&self, model: &str) -> Result<(), Invalid> {
        let stars = |name: &str| name.matches('*').count();
        if !is_name(model) || pattern::is_ambiguous(model) {
            let allowed =
                "a name of 1 to 128 bytes with at most one `*`, which stands for any characters";
            return Err(Invalid::new(format!("models.{model}"), model, allowed));
        }
        let members = self.upstreams.iter().chain(&self.fallbacks);
        let names = members.filter_map(|member| member.rename.as_ref()).chain(&self.rename);
        for name in names {
            if name.is_empty() || name.chars().any(char::is_control) {
                let allowed = "a name of one character or more, none of which controls a terminal";
                return Err(Invalid::new(format!("models.{model}.rename"), name, allowed));
            }
            if stars(name) > stars(model) {
                let allowed = "a name without `*`, unless the model's has one, for which it stands";
                return Err(Invalid::new(format!("models.{model}.rename"), name, allowed));
            }
        }
        Ok(())
    }
}

impl From<Written> for MemberConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self { name, weight: one(), rename: None },
            Written::Table(Table { name, weight, rename }) => Self { name, weight, rename },
        }
    }
}

impl From<MemberConfig> for Written {
    fn from(member: MemberConfig) -> Self {
        match member {
            MemberConfig { name, weight: 1, rename: None } => Self::Name(name),
            MemberConfig { name, weight, rename } => Self::Table(Table { name, weight, rename }),
        }
    }
}

fn one() -> u32 {
    1
}
