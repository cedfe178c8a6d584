//! Query parameters, each with its bounds; what is not allowed is refused, never replaced.

use std::{collections::HashMap, fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use http::{HeaderMap, header};

use super::HttpError;
use crate::capture::Window;

/// Forms of what is for programs, or as text for people.
pub(crate) const JSON_OR_TEXT: [(&str, &str, bool); 2] =
    [("json", "application/json", false), ("text", "text/plain", true)];

/// Parameters of Go's `net/http/pprof`, which its tools may send to any profile.
const GO: [&str; 3] = ["seconds", "debug", "gc"];

/// Most seconds of a capture.
pub(crate) const MAX_SECONDS: u64 = 300;

/// A number of seconds that was brought into its bounds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Clipped {
    /// Seconds that were asked for, as they were written.
    pub(crate) asked: String,
    /// Seconds that are done.
    pub(crate) done: String,
}

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Params(HashMap<String, String>);

impl Params {
    /// Takes the parameters, of which only `known` may be there.
    pub(crate) fn new(given: HashMap<String, String>, known: &[&str]) -> Result<Self, HttpError> {
        match given.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(given)),
            Some(name) if known.is_empty() => Err(HttpError::bad_request(format!(
                "unknown parameter `{name}`: none is allowed here"
            ))),
            Some(name) => Err(HttpError::bad_request(format!(
                "unknown parameter `{name}`: allowed here are {}",
                known.join(", ")
            ))),
        }
    }

    /// Takes the parameters of a profile that Go's tools read: Go's, and `known`. Of Go's, `debug`
    /// and `gc` must be whole numbers.
    pub(crate) fn of_profile(
        given: HashMap<String, String>,
        known: &[&str],
    ) -> Result<Self, HttpError> {
        let go = GO.iter().filter(|name| !known.contains(name));
        let known: Vec<_> = go.chain(known).copied().collect();
        let params = Self::new(given, &known)?;
        params.debug()?;
        params.level("gc")?;
        Ok(params)
    }

    /// Go's `debug`: 0 for the profile, and any other for text.
    pub(crate) fn debug(&self) -> Result<i64, HttpError> {
        self.level("debug")
    }

    fn level(&self, name: &str) -> Result<i64, HttpError> {
        let Some(text) = self.0.get(name) else { return Ok(0) };
        text.parse().map_err(|_| {
            HttpError::bad_request(format!("{name}: `{text}` is not allowed: a whole number"))
        })
    }

    /// The window of a capture: `seconds` (1 to 300) and `force`.
    pub(crate) fn window(&self, default_seconds: u64) -> Result<Window, HttpError> {
        let seconds = self.number("seconds", default_seconds, 1..=MAX_SECONDS)?;
        let force = self.choice("force", &[("false", false), ("true", true)])?;
        Ok(Window { duration: Duration::from_secs(seconds), force })
    }

    /// The same for Go's tools, which know no limit: longer ones are clipped to `most` seconds.
    pub(crate) fn clipped_window(
        &self,
        default_seconds: u64,
        most: u64,
    ) -> Result<(Window, Option<Clipped>), HttpError> {
        let force = self.choice("force", &[("false", false), ("true", true)])?;
        let window = |seconds| Window { duration: Duration::from_secs(seconds), force };
        let text = self.0.get("seconds").map(String::as_str).unwrap_or_default();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that does not fit is larger than any other.
        if is_number && text.parse::<u64>().map_or(true, |seconds| seconds > most) {
            let clipped = Clipped { asked: text.to_owned(), done: most.to_string() };
            return Ok((window(most), Some(clipped)));
        }
        Ok((window(self.number("seconds", default_seconds, 1..=most)?), None))
    }

    /// The same with fractions of a second, which Go takes for traces.
    pub(crate) fn clipped_fraction(
        &self,
        default_seconds: f64,
        (least, most): (f64, f64),
    ) -> Result<(Window, Option<Clipped>), HttpError> {
        let force = self.choice("force", &[("false", false), ("true", true)])?;
        let text = self.0.get("seconds");
        let asked = text.map_or(Ok(default_seconds), |text| text.parse());
        let asked = asked.ok().filter(|seconds| *seconds > 0.0).ok_or_else(|| {
            let text = text.map(String::as_str).unwrap_or_default();
            let allowed = format!("a number above 0, up to {most}");
            HttpError::bad_request(format!("seconds: `{text}` is not allowed: {allowed}"))
        })?;
        let done = asked.clamp(least, most);
        let is_clipped = !(least..=most).contains(&asked);
        let clipped = text.filter(|_| is_clipped);
        let clipped = clipped.map(|text| Clipped { asked: text.clone(), done: done.to_string() });
        Ok((Window { duration: Duration::from_secs_f64(done), force }, clipped))
    }

    pub(crate) fn number<T>(
        &self,
        name: &str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, HttpError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
            let (least, most) = allowed.into_inner();
            HttpError::bad_request(format!(
                "{name}: `{text}` is not allowed: a whole number from {least} to {most}"
            ))
        })
    }

    /// One of a few words; the first is the default.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        allowed: &[(&str, T)],
    ) -> Result<T, HttpError> {
        let word = self.0.get(name).map_or(allowed[0].0, String::as_str);
        allowed.iter().find(|(known, _)| *known == word).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = allowed.iter().map(|(known, _)| *known).collect();
            HttpError::bad_request(format!("{name}: `{word}` is not allowed: {}", words.join(", ")))
        })
    }

    /// The form of the answer: `format`, or where it is not given the one whose media type `accept`
    /// begins with. The first is the default.
    pub(crate) fn format<T: Copy>(
        &self,
        headers: &HeaderMap,
        allowed: &[(&str, &str, T)],
    ) -> Result<T, HttpError> {
        let words: Vec<_> = allowed.iter().map(|(word, _, form)| (*word, *form)).collect();
        let named = self.choice("format", &words)?;
        if self.has("format") {
            return Ok(named);
        }
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let accept = accept.unwrap_or_default();
        let accepted = allowed.iter().find(|(_, media_type, _)| accept.starts_with(media_type));
        Ok(accepted.map_or(named, |(.., form)| *form))
    }

    /// A text of bounded length, if it is given.
    pub(crate) fn text(&self, name: &str, max: usize) -> Result<Option<String>, HttpError> {
        let text = self.0.get(name);
        match text.filter(|text| text.len() > max) {
            None => Ok(text.cloned()),
            Some(long) => Err(HttpError::bad_request(format!(
                "{name}: {} bytes are not allowed: at most {max}",
                long.len()
            ))),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl Clipped {
    /// A word of it, for the client.
    pub(crate) fn note(&self) -> String {
        format!("seconds: {} asked for, clipped to {}", self.asked, self.done)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn params(given: &[(&str, &str)]) -> Result<Params, HttpError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Params::new(given.collect(), &["seconds", "force"])
    }

    #[test]
    fn an_error_names_the_field_the_value_and_what_is_allowed() {
        for bad in ["0", "301", "-1", "1.5", "", "ten"] {
            let window = params(&[("seconds", bad)]).and_then(|params| params.window(30));
            let message = format!("{:?}", window.expect_err("refused"));
            assert!(message.contains(&format!("seconds: `{bad}`")), "{message}");
            assert!(message.contains("from 1 to 300"), "{message}");
        }
        let force = params(&[("force", "yes")]).and_then(|params| params.window(30));
        assert!(format!("{:?}", force.expect_err("refused")).contains("false, true"));
        let unknown = params(&[("second", "1")]).expect_err("refused");
        assert!(format!("{unknown:?}").contains("allowed here are seconds, force"));
        assert_eq!(unknown.into_response().status(), 400);
    }

    #[test]
    fn seconds_past_the_limit_are_clipped_for_go_and_told() {
        let window = |seconds: &str| {
            params(&[("seconds", seconds)]).and_then(|params| params.clipped_window(30, 300))
        };
        for (asked, done) in [("300", 300), ("301", 300), ("99999999999999999999999", 300)] {
            let (window, clipped) = window(asked).expect("allowed");
            assert_eq!(window.duration.as_secs(), done, "{asked}");
            let note = clipped.map(|clipped| clipped.note());
            let told = format!("seconds: {asked} asked for, clipped to 300");
            assert_eq!(note, (asked != "300").then_some(told));
        }
        for bad in ["0", "-1", "1.5", "", "ten", "1e3"] {
            let message = format!("{:?}", window(bad).expect_err("refused"));
            assert!(message.contains(&format!("seconds: `{bad}`")), "{message}");
        }
    }

    #[test]
    fn a_trace_may_last_a_fraction_of_a_second() {
        let window = |seconds: &str| {
            params(&[("seconds", seconds)])
                .and_then(|params| params.clipped_fraction(5.0, (0.1, 60.0)))
        };
        for (asked, done, is_clipped) in
            [("0.5", 500, false), ("60", 60_000, false), ("0.01", 100, true), ("1e9", 60_000, true)]
        {
            let (window, clipped) = window(asked).expect("allowed");
            assert_eq!(window.duration.as_millis(), done, "{asked}");
            assert_eq!(clipped.is_some(), is_clipped, "{asked}");
        }
        for bad in ["0", "-1", "", "ten", "NaN"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_go_sends_is_taken_by_every_profile() {
        let taken = |given: &[(&str, &str)]| {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Params::of_profile(given.collect(), &["route"])
        };
        let params = taken(&[("debug", "2"), ("gc", "1"), ("seconds", "1")]).expect("known");
        assert_eq!(params.debug().expect("a number"), 2);
        for bad in [[("debug", "yes")], [("gc", "yes")], [("frequency", "1")]] {
            assert!(taken(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_form_is_named_or_else_accepted() {
        let forms = [("json", "application/json", 1), ("text", "text/plain", 2)];
        let form = |given: &[(&str, &str)], accept: &str| {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let params = Params::new(given.collect(), &["format"]).expect("known");
            let headers = [(header::ACCEPT, accept.parse().expect("a value"))];
            params.format(&headers.into_iter().collect(), &forms)
        };
        assert_eq!(form(&[], "").expect("allowed"), 1);
        assert_eq!(form(&[], "text/plain;q=0.9").expect("allowed"), 2);
        assert_eq!(form(&[], "image/png").expect("allowed"), 1);
        assert_eq!(form(&[("format", "json")], "text/plain").expect("allowed"), 1);
        assert!(form(&[("format", "png")], "text/plain").is_err());
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let window = params(&[]).and_then(|params| params.window(30)).expect("allowed");
        assert_eq!((window.duration.as_secs(), window.force), (30, false));
    }
}
