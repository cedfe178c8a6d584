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

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub(crate) use self::announcement::announce;
use crate::checks::Examine;
pub use crate::checks::{Finding, State};
use crate::instance::Instance;

/// Everything that was looked at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Examination {
    /// Each thing and how it is, in an order that stays.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// Looks at everything. It reads debug information, which takes a tenth of a second: not for a
    /// worker.
    pub(crate) fn of(instance: &Instance) -> Self {
        let examinations = &instance.examinations;
        let findings = [
            build::findings(),
            names::findings(),
            machine::findings(instance.config.stacks),
            setup::findings(instance),
            examinations.iter().flat_map(Examine::findings).collect(),
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
