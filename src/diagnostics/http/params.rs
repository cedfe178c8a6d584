//! Query parameters, each with its bounds; what is not allowed is refused, never replaced.

use std::{collections::HashMap, fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use http::{HeaderMap, header};

use super::HttpError;
use crate::diagnostics::capture::Window;

/// Forms of what is for programs, or as text for people.
pub(crate) const JSON_OR_TEXT: [(&str, &str, bool); 2] =
    [("json", "application/json", false), ("text", "text/plain", true)];

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

    /// The window of a capture: `seconds` (1 to 300) and `force`.
    pub(crate) fn window(&self, default_seconds: u64) -> Result<Window, HttpError> {
        let seconds = self.number("seconds", default_seconds, 1..=300)?;
        let force = self.choice("force", &[("false", false), ("true", true)])?;
        Ok(Window { duration: Duration::from_secs(seconds), force })
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
