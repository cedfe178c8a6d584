//! The name of a capture: `<time>-<kind>[-<handler>]`, such as `20261125T143000Z-cpu-POST-v1-embeddings`.
//!
//! It is part of a file's name, and comes from clients too: a name that is allowed has nothing in
//! it but letters, digits, `-` and `_`, and so leads nowhere else.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use thiserror::Error;

/// Format of the time: to the second, in UTC, so that names sort by it.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Longest part of a name that tells of the handler.
const MAX_HANDLER: usize = 64;

/// The name of a capture, which tells when it was taken, of which kind and of which handler.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use thermograph_profile::captures::{Kind, Name};
///
/// let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_617_000);
/// let name = Name::new(time, Kind::Cpu, Some("POST /v1/embeddings"));
/// assert_eq!(name.to_string(), "20261125T143000Z-cpu-POST-v1-embeddings");
/// assert_eq!(name.to_string().parse::<Name>()?, name);
/// assert!("../../etc/passwd".parse::<Name>().is_err());
/// # Ok::<(), thermograph_profile::captures::BadName>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    /// When its window began, to the second.
    time: Timestamp,
    kind: Kind,
    /// Which handler it is of, or whatever else tells it from others; none where it is of all.
    handler: Option<String>,
}

/// Kinds of captures, by the subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// CPU time.
    Cpu,
    /// Wall-clock time in polls.
    Wall,
    /// Polls that took longer than the threshold.
    Stalls,
    /// Time in which spans were entered.
    Spans,
    /// Memory that was allocated and not freed.
    Heap,
    /// Memory that was allocated, freed or not.
    Allocs,
    /// Tasks that exist, by where they wait.
    Tasks,
    /// Timeline of events: neither a profile nor a picture.
    Trace,
    /// CPU time, as `perf` sampled it.
    Perf,
    /// Difference between two other captures: a picture only.
    Diff,
}

/// The error for a text that is not a name of a capture; has the beginning of the text.
#[derive(Debug, Error)]
#[error(
    "`{0}` is not allowed: the name of a capture, <time>-<kind>[-<handler>], such as \
     20261125T143000Z-cpu-POST-v1-embeddings"
)]
pub struct BadName(String);

impl Name {
    /// Names a capture whose window began at `time`, to the second; of `handler`, `None` for all, the
    /// characters that may stand in a name are kept.
    pub fn new(time: SystemTime, kind: Kind, handler: Option<&str>) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        Self { time, kind, handler: handler.and_then(slug) }
    }

    /// The kind of the capture.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The [`slug`] of the handler that the capture is of; `None` where it is of all handlers.
    pub fn handler(&self) -> Option<&str> {
        self.handler.as_deref()
    }

    /// Time at which the window began, as it stands in the name.
    pub fn time(&self) -> String {
        self.time.strftime(TIME).to_string()
    }

    /// The name without the time: equal for two captures of the same kind and handler.
    pub fn subject(&self) -> String {
        let handler = self.handler.iter().map(String::as_str);
        [self.kind.name()].into_iter().chain(handler).collect::<Vec<_>>().join("-")
    }

    /// The same a second later: for a capture whose name is taken.
    pub(super) fn next(self) -> Self {
        let later = self.time.checked_add(Duration::from_secs(1));
        Self { time: later.unwrap_or(Timestamp::MAX), ..self }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time(), self.subject())
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName(text.chars().take(2 * MAX_HANDLER).collect());
        let (time, subject) = text.split_once('-').ok_or_else(bad)?;
        let (kind, handler) = match subject.split_once('-') {
            Some((kind, handler)) => (kind, Some(handler)),
            None => (subject, None),
        };
        let civil = DateTime::strptime(TIME, time).map_err(|_| bad())?;
        let name = Self {
            time: TimeZone::UTC.to_timestamp(civil).map_err(|_| bad())?,
            kind: Kind::named(kind).ok_or_else(bad)?,
            handler: handler.map(str::to_owned),
        };
        // There is one way to write a name, and no other.
        let is_slug = handler.is_none_or(|handler| slug(handler).as_deref() == Some(handler));
        if is_slug && name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Cpu,
        Self::Wall,
        Self::Stalls,
        Self::Spans,
        Self::Heap,
        Self::Allocs,
        Self::Tasks,
        Self::Trace,
        Self::Perf,
        Self::Diff,
    ];

    /// The word for the kind in the names of captures, such as `cpu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Stalls => "stalls",
            Self::Spans => "spans",
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Tasks => "tasks",
            Self::Trace => "trace",
            Self::Perf => "perf",
            Self::Diff => "diff",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Reduces a text to the characters that may stand in a name of a capture, such as
/// `POST-v1-embeddings` for `POST /v1/embeddings`; `None` if it has none of them.
pub fn slug(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<_> = text.split(|c| !allowed(c)).filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(MAX_HANDLER);
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-25 14:30:00 UTC, and some.
    fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_617_000_999)
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for (kind, handler, text) in [
            (Kind::Cpu, Some("POST /v1/embeddings"), "20261125T143000Z-cpu-POST-v1-embeddings"),
            (Kind::Wall, Some("/files/{id}"), "20261125T143000Z-wall-files-id"),
            (Kind::Stalls, None, "20261125T143000Z-stalls"),
            (Kind::Trace, Some("/"), "20261125T143000Z-trace"),
        ] {
            let name = Name::new(time(), kind, handler);
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse::<Name>().expect("a name"), name);
        }
        for kind in Kind::ALL {
            let name = Name::new(time(), kind, Some("a_b"));
            assert_eq!(name.to_string().parse::<Name>().expect("a name").kind(), kind);
        }
    }

    #[test]
    fn the_next_name_is_a_second_later() {
        let next = Name::new(time(), Kind::Cpu, None).next();
        assert_eq!(next.to_string(), "20261125T143001Z-cpu");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = format!("20261125T143000Z-cpu-{}", "x".repeat(MAX_HANDLER + 1));
        for bad in [
            "",
            "..",
            "20261125T143000Z",
            "20261125T143000Z-",
            "20261125T143000Z-moon",
            "20261125T143000Z-cpu-",
            "20261125T143000Z-cpu--x",
            "20261125T143000Z-cpu-../../etc/passwd",
            "20261125T143000Z-cpu-a/b",
            "20261125T143000Z-cpu-a\\b",
            "20261125T143000Z-cpu-a.svg",
            "20261125T143000Z-cpu-é",
            "20261125T143000Z-cpu\0",
            "20261325T143000Z-cpu",
            "2026125T143000Z-cpu",
            ".20261125T143000Z-cpu",
            &long,
        ] {
            let error = bad.parse::<Name>().expect_err(bad).to_string();
            assert!(error.contains("<time>-<kind>[-<handler>]"), "{error}");
        }
    }

    #[test]
    fn a_handler_s_part_is_bounded_and_ends_with_a_word() {
        let route = format!("GET /{}/x", "x".repeat(MAX_HANDLER - "GET-".len() - 1));
        let slug = slug(&route).expect("something is allowed");
        assert_eq!(slug.len(), MAX_HANDLER - 1, "{slug}");
        assert!(slug.ends_with('x'));
    }
}
