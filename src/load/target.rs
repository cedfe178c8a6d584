//! A request of any service, by hand.

use std::str::FromStr;

use bytes::Bytes;
use http::{Method, uri::PathAndQuery};
use thiserror::Error;

/// `METHOD /path=weight`, with a JSON body between path and weight if there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Sent as `application/json`; empty is no body.
    pub(crate) body: Bytes,
    pub(crate) weight: u32,
}

/// Why a target cannot be used.
#[derive(Debug, Error, PartialEq)]
pub enum BadTarget {
    /// No method, or one that HTTP does not allow.
    #[error("`{0}` is no method: `GET /path=1` is wanted")]
    Method(String),
    /// No path, or one that HTTP does not allow.
    #[error("`{0}` is no path: it begins with `/`")]
    Path(String),
    /// What follows the last `=` is no weight.
    #[error("`{0}` is no weight: a whole number from 1 to 1000 is wanted after the last `=`")]
    Weight(String),
}

impl Target {
    /// How reports call it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let (request, weight) = match text.rsplit_once('=') {
            None => (text, 1),
            Some((request, weight)) => {
                let number =
                    weight.trim().parse().ok().filter(|number| (1..=1000).contains(number));
                (request, number.ok_or_else(|| BadTarget::Weight(weight.to_owned()))?)
            }
        };
        let (method, rest) = request.trim().split_once(' ').unwrap_or(("", request));
        let (path, body) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
        let allowed = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
        if !allowed {
            return Err(BadTarget::Path(path.to_owned()));
        }
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| BadTarget::Method(method.to_owned()))?;
        let body = Bytes::copy_from_slice(body.trim().as_bytes());
        Ok(Self { method, path: path.to_owned(), body, weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<(String, String, u32), BadTarget> {
        let Target { body, weight, .. } = &text.parse::<Target>()?;
        let body = String::from_utf8_lossy(body).into_owned();
        Ok((text.parse::<Target>()?.name(), body, *weight))
    }

    #[test]
    fn has_a_method_a_path_a_body_and_a_weight() {
        let read = |name: &str, body: &str, weight| Ok((name.to_owned(), body.to_owned(), weight));
        assert_eq!(target("GET /a"), read("GET /a", "", 1));
        assert_eq!(target("GET /a=3"), read("GET /a", "", 3));
        assert_eq!(target("GET /a?b=c&d=e=3"), read("GET /a?b=c&d=e", "", 3));
        assert_eq!(target(r#"POST /a {"b": "c=d"}=2"#), read("POST /a", r#"{"b": "c=d"}"#, 2));
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(target("GET /a=0"), Err(BadTarget::Weight("0".into())));
        assert_eq!(target("GET /a?b=c"), Err(BadTarget::Weight("c".into())));
        assert_eq!(target("GET a"), Err(BadTarget::Path("a".into())));
        assert_eq!(target("/a"), Err(BadTarget::Method(String::new())));
        assert_eq!(target("G@T /a"), Err(BadTarget::Method("G@T".into())));
    }
}
