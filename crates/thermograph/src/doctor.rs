//! The doctor: what this build and this machine can show and what they cannot, with the line that
//! mends it.
//!
//! It looks at the program and the system, not at the handlers: whether those are ill is what a
//! [diagnosis](super::diagnosis) says. It cannot see what only the app's own source shows, such as
//! a layer in the wrong place, but by what came of it.

mod announcement;
mod build;
mod machine;
mod names;
mod setup;

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

pub(crate) use self::announcement::announce;
use super::Thermograph;

/// Everything that was looked at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Examination {
    /// Each thing and how it is, in an order that stays.
    pub findings: Vec<Finding>,
}

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
pub(super) struct Examine(Box<dyn Fn() -> Vec<Finding> + Send + Sync>);

impl Examine {
    pub(super) fn new(examine: impl Fn() -> Vec<Finding> + Send + Sync + 'static) -> Self {
        Self(Box::new(examine))
    }
}

impl fmt::Debug for Examine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Examine")
    }
}

impl Examination {
    /// Looks at everything. It reads debug information, which takes a tenth of a second: not for a
    /// worker.
    pub(super) fn of(thermograph: &Thermograph) -> Self {
        let examinations = &thermograph.inner.examinations;
        let findings = [
            build::findings(),
            names::findings(),
            machine::findings(thermograph.inner.config.stacks),
            setup::findings(thermograph),
            examinations.iter().flat_map(|examine| (examine.0)()).collect(),
        ];
        Self { findings: findings.concat() }
    }

    /// How the worst of it is.
    pub fn worst(&self) -> State {
        self.findings.iter().map(|finding| finding.state).min().unwrap_or(State::Good)
    }

    /// One line: how many are good, and what the others are.
    pub fn summary(&self) -> String {
        let of = |state| self.findings.iter().filter(move |finding| finding.state == state);
        let mut text = format!("{} good", of(State::Good).count());
        for (state, one, many) in
            [(State::Warning, "warning", "warnings"), (State::Bad, "bad", "bad")]
        {
            let names: Vec<_> = of(state).map(|finding| finding.what.as_str()).collect();
            let word = if names.len() == 1 { one } else { many };
            if !names.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(text, ", {} {word} ({})", names.len(), names.join(", "));
            }
        }
        text
    }

    /// A line for each finding and, below it, the line that mends it; `paint` may colour what
    /// belongs to a state.
    pub fn text(&self, paint: impl Fn(State, &str) -> String) -> String {
        let width = self.findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { what, state, says, mend } in &self.findings {
            let word = paint(*state, &format!("{:7}", state.word()));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word}  {what:width$}  {says}");
            if let Some(mend) = mend {
                let _ = writeln!(text, "{:7}  {:width$}  mend: {mend}", "", "");
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }
}

impl Finding {
    fn good(what: &str, says: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Good, says: says.into(), mend: None }
    }

    fn warning(what: &str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { state: State::Warning, mend: Some(mend.into()), ..Self::good(what, says) }
    }

    fn bad(what: &str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { state: State::Bad, ..Self::warning(what, says, mend) }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Good => "good",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examination() -> Examination {
        let findings = vec![
            Finding::good("tick", "250 Hz"),
            Finding::warning("hooks", "none", "install them"),
            Finding::bad("names", "none", "debug = 1"),
            Finding::warning("layer", "none", "put it on"),
        ];
        Examination { findings }
    }

    #[test]
    fn a_summary_counts_and_names_what_is_not_good() {
        let examination = examination();
        assert_eq!(examination.summary(), "1 good, 2 warnings (hooks, layer), 1 bad (names)");
        assert_eq!(examination.worst(), State::Bad);
        let good = Examination { findings: vec![Finding::good("tick", "250 Hz")] };
        assert_eq!((good.summary().as_str(), good.worst()), ("1 good", State::Good));
    }

    #[test]
    fn text_has_a_line_for_each_and_what_mends_it() {
        let text = examination().text(|state, word| {
            if state == State::Bad { word.to_uppercase() } else { word.to_owned() }
        });
        assert!(text.contains("good     tick   250 Hz\n"), "{text}");
        assert!(text.contains("BAD      names  none\n                mend: debug = 1\n"), "{text}");
        assert!(text.ends_with("1 bad (names)\n"), "{text}");
    }

    #[test]
    fn json_is_what_others_read() {
        let json = serde_json::to_value(examination()).expect("serializes");
        assert_eq!(json["findings"][0]["state"], "good");
        assert!(json["findings"][0]["mend"].is_null());
        assert_eq!(json["findings"][2]["mend"], "debug = 1");
        let read: Examination = serde_json::from_value(json).expect("the same");
        assert_eq!(read, examination());
    }
}
