//! What was found where something was looked at, as the doctor reports it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `frame_pointers`.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What that means for what can be shown.
    pub says: String,
    /// The line that mends it, where there is something to mend.
    pub mend: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// What is shown because of it is missing or wrong.
    Bad,
    /// Something can be shown less well because of it.
    Warning,
    /// As it should be.
    Good,
}

/// Makes findings of the app.
pub(crate) struct Examine(Box<dyn Fn() -> Vec<Finding> + Send + Sync>);

impl Examine {
    pub(crate) fn new(examine: impl Fn() -> Vec<Finding> + Send + Sync + 'static) -> Self {
        Self(Box::new(examine))
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        (self.0)()
    }
}

impl fmt::Debug for Examine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Examine")
    }
}

impl Finding {
    pub(crate) fn good(what: &str, says: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Good, says: says.into(), mend: None }
    }

    pub(crate) fn warning(what: &str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { state: State::Warning, mend: Some(mend.into()), ..Self::good(what, says) }
    }

    pub(crate) fn bad(what: &str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { state: State::Bad, ..Self::warning(what, says, mend) }
    }
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Good => "good",
        }
    }
}
