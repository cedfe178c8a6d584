//! Lists of statuses of HTTP.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// A status of an error, or all of them from 500 on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum StatusRule {
    /// This status.
    One(u16),
    /// Any from 500 on that can be another next time: not 501, nor 505.
    ServerErrors,
}

/// A status as it is written.
#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "a status from 400 to 599, or \"5xx\"")]
enum Written {
    Number(u16),
    Class(String),
}

/// Text that stands for all server errors.
const CLASS: &str = "5xx";

impl StatusRule {
    /// Returns whether the status is one of these.
    pub(crate) fn any(rules: &[Self], status: StatusCode) -> bool {
        let lasting = [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED];
        rules.iter().any(|rule| match rule {
            Self::One(code) => *code == status.as_u16(),
            Self::ServerErrors => status.is_server_error() && !lasting.contains(&status),
        })
    }
}

impl TryFrom<Written> for StatusRule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(code @ 400..=599) => Ok(Self::One(code)),
            Written::Class(class) if class == CLASS => Ok(Self::ServerErrors),
            Written::Number(code) => Err(refused(code)),
            // Variables of the environment are lists of text.
            Written::Class(text) => match text.parse() {
                Ok(code @ 400..=599) => Ok(Self::One(code)),
                _ => Err(refused(text)),
            },
        }
    }
}

impl From<StatusRule> for Written {
    fn from(rule: StatusRule) -> Self {
        match rule {
            StatusRule::One(code) => Self::Number(code),
            StatusRule::ServerErrors => Self::Class(CLASS.to_owned()),
        }
    }
}

fn refused(found: impl fmt::Display) -> String {
    format!("`{found}` is not allowed: a status from 400 to 599, or \"{CLASS}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_or_a_class() {
        let rules: Vec<StatusRule> = serde_json::from_str(r#"[429,"5xx","408"]"#).expect("rules");
        for (status, expected) in
            [(429, true), (408, true), (404, false), (500, true), (501, false), (505, false)]
        {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(StatusRule::any(&rules, status), expected, "{status}");
        }
        assert_eq!(serde_json::to_string(&rules).expect("JSON"), r#"[429,"5xx",408]"#);
        for text in ["[200]", "[600]", r#"["4xx"]"#, "[-1]"] {
            assert!(serde_json::from_str::<Vec<StatusRule>>(text).is_err(), "{text}");
        }
    }
}
