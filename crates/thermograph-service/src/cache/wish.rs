//! What a client says about the cache.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

use crate::error::ApiError;

/// What the client wants of the cache: `use`, `refresh` or `skip`.
const WISH: HeaderName = HeaderName::from_static("x-thermograph-cache");

/// What may be done for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wish {
    mode: Mode,
    /// The client asks for it also where answers may differ from time to time.
    pub(crate) asked: bool,
    /// Oldest answer that is wanted.
    pub(crate) max_age: Option<Duration>,
    /// Nobody is to be asked.
    pub(crate) only_kept: bool,
}

/// What is done with the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// What is kept is given, and what is new is kept.
    Use,
    /// What is new is kept.
    Refresh,
    Skip,
}

impl Wish {
    const USUAL: Self = Self { mode: Mode::Use, asked: false, max_age: None, only_kept: false };

    /// What the headers say: ours, and `cache-control` as HTTP has it.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut wish = Self::USUAL;
        for value in headers.get_all(header::CACHE_CONTROL) {
            let Ok(value) = value.to_str() else { continue };
            value.split(',').for_each(|directive| wish.follow(directive.trim()));
        }
        if let Some(value) = headers.get(WISH) {
            match value.as_bytes() {
                b"use" => (wish.mode, wish.asked) = (Mode::Use, true),
                b"refresh" => (wish.mode, wish.asked) = (Mode::Refresh, true),
                b"skip" => wish.mode = Mode::Skip,
                _ => {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    let message = format!("{WISH}: `{value}` is not allowed: use, refresh or skip");
                    return Err(ApiError::bad_request(None, message));
                }
            }
        }
        Ok(wish)
    }

    /// Whether what is kept may be given.
    pub(crate) fn reads(&self) -> bool {
        self.mode == Mode::Use
    }

    /// Whether what is new may be kept.
    pub(crate) fn keeps(&self) -> bool {
        self.mode != Mode::Skip
    }

    /// What is not known is ignored, as HTTP has it.
    fn follow(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.mode = Mode::Skip,
            "no-cache" if self.mode == Mode::Use => self.mode = Mode::Refresh,
            "only-if-cached" => self.only_kept = true,
            "max-age" => {
                let Ok(seconds) = value.trim_matches('"').parse() else { return };
                self.max_age = Some(Duration::from_secs(seconds));
                self.asked |= seconds > 0;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(headers: &[(&'static str, &str)]) -> Result<Wish, ApiError> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        Wish::of(&headers.iter().map(pair).collect())
    }

    #[test]
    fn both_headers_are_understood() {
        let usual = Wish::USUAL;
        let cases: [(&[(&str, &str)], Wish); 9] = [
            (&[], usual),
            (&[("cache-control", "no-cache")], Wish { mode: Mode::Refresh, ..usual }),
            (&[("cache-control", "No-Store, x=y")], Wish { mode: Mode::Skip, ..usual }),
            (&[("cache-control", "max-age=0")], Wish { max_age: Some(Duration::ZERO), ..usual }),
            (
                &[("cache-control", "max-age=60, only-if-cached")],
                Wish {
                    max_age: Some(Duration::from_mins(1)),
                    asked: true,
                    only_kept: true,
                    ..usual
                },
            ),
            (&[("cache-control", "max-age=soon")], usual),
            (&[("x-thermograph-cache", "use")], Wish { asked: true, ..usual }),
            (
                &[("x-thermograph-cache", "refresh")],
                Wish { mode: Mode::Refresh, asked: true, ..usual },
            ),
            // Ours is the more certain.
            (
                &[("x-thermograph-cache", "use"), ("cache-control", "no-store")],
                Wish { asked: true, ..usual },
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(wish(headers).expect("allowed"), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let error = wish(&[("x-thermograph-cache", "always")]).expect_err("not allowed");
        let said = format!("{error:?}");
        assert!(said.contains("`always`") && said.contains("use, refresh or skip"), "{said}");
    }
}
