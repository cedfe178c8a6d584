//! The web pages that may use the API: cross-origin requests, and the CORS headers for those allowed.
//!
//! A browser lets any page send simple requests to any server, loopback included, and a page whose
//! name is pointed at 127.0.0.1 (DNS rebinding) sends any. Where callers need no key and the listener
//! is on loopback, both are refused. Elsewhere the key, or whatever stands before the server,
//! decides.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use thermograph_common::Invalid;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::error::ApiError;

/// The pages that may use the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PagesConfig {
    /// Origins of the pages that may use the API, such as `https://app.example`; `*` for all.
    /// Default is none.
    pub origins: Vec<String>,
    /// Host names that requests may be for, besides addresses and names without a dot such as
    /// `localhost`; `*` for all. `None` if neither hosts nor origins are checked. Default is `None`.
    pub hosts: Option<Vec<String>>,
}

/// Stands for all origins, and for all hosts.
const ALL: &str = "*";
/// Most entries of a list.
const MOST: usize = 100;
/// Time for which a browser keeps the answer to a preflight request: two hours, Chromium's maximum.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);
/// Response headers that a page may read.
const EXPOSED: [HeaderName; 16] = [
    HeaderName::from_static("x-request-id"),
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
    HeaderName::from_static("x-cache"),
    header::AGE,
    HeaderName::from_static("x-thermograph-upstream"),
    HeaderName::from_static("x-thermograph-overhead-us"),
    HeaderName::from_static("x-thermograph-cache-hits"),
    HeaderName::from_static("server-timing"),
];

impl PagesConfig {
    /// Checks what the types cannot say.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let hosts = self.hosts.as_deref().unwrap_or_default();
        let lists = [("cors_origins", self.origins.as_slice()), ("allowed_hosts", hosts)];
        for (field, list) in lists {
            if list.len() > MOST {
                return Err(Invalid::new(field, list.len(), format!("at most {MOST}")));
            }
        }
        if let Some(bad) = self.origins.iter().find(|origin| !is_origin(origin)) {
            let allowed = "origins as browsers send them, such as `https://app.example` or \
                           `http://localhost:3000`, without a path; `*` for all";
            return Err(Invalid::new("cors_origins", bad, allowed));
        }
        if let Some(bad) = hosts.iter().find(|host| !is_host(host)) {
            let allowed = "names of hosts such as `api.example`, without a port; `*` for all";
            return Err(Invalid::new("allowed_hosts", bad, allowed));
        }
        Ok(())
    }

    /// Refuses a request that a page of another site may have sent, where that is checked.
    pub(super) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        let Some(hosts) = &self.hosts else { return Ok(()) };
        // Browsers always say which host they ask for.
        let authority = thermograph_cross_site::authority(headers, uri);
        if let Some(authority) = authority.filter(|name| !is_loopback(name)) {
            let host =
                thermograph_cross_site::host(headers, uri).filter(|host| is_allowed(host, hosts));
            host.ok_or_else(|| ApiError::foreign_host(authority))?;
        }
        match thermograph_cross_site::foreign_origin(headers, uri) {
            Some(origin) if !self.allows(origin) => Err(ApiError::foreign_origin(origin)),
            _ => Ok(()),
        }
    }

    /// The layer that tells browsers which pages may use the API; `None` if none may.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let origins = if self.origins.iter().any(|origin| origin == ALL) {
            AllowOrigin::any()
        } else {
            // `validate` has seen that they are headers.
            AllowOrigin::list(self.origins.iter().filter_map(|origin| origin.parse().ok()))
        };
        let cors = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            // Client libraries have headers of their own, such as `x-stainless-os`.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_MAX_AGE);
        Some(cors)
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == ALL || allowed == origin)
    }
}

/// Returns whether an authority can only mean this machine, of those that clients send most: so that
/// others alone are parsed.
fn is_loopback(authority: &str) -> bool {
    let local = ["127.0.0.1", "localhost"].iter().find_map(|host| authority.strip_prefix(host));
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    local.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Returns whether requests for a host are answered: one that is configured, or one that no page can
/// have pointed here. A name without a dot is not in the public DNS; proxies send such names.
fn is_allowed(host: &str, configured: &[String]) -> bool {
    let is_unqualified = !host.is_empty() && !host.contains('.');
    let mut names = configured.iter();
    thermograph_cross_site::is_local(host)
        || is_unqualified
        || names.any(|name| name == ALL || name.eq_ignore_ascii_case(host))
}

/// Returns whether a text is an origin in the form in which browsers send it, or all of them.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return text == ALL };
    let is_scheme = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-.0123456789".contains(&byte));
    let is_plain = !authority.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'@');
    let parsed = authority.parse::<http::uri::Authority>();
    is_scheme && is_plain && parsed.is_ok() && text.parse::<HeaderValue>().is_ok()
}

fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text == ALL || (1..=253).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_of_this_machine_are_told_without_parsing_them() {
        for name in ["localhost", "localhost:6060", "127.0.0.1:8080", "127.0.0.1"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["localhost.evil.example", "127.0.0.1.nip.io", "localhost:80@evil.example", ""]
        {
            assert!(!is_loopback(name), "{name}");
        }
    }

    fn config(origins: &[&str], hosts: &[&str]) -> PagesConfig {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        PagesConfig { origins: owned(origins), hosts: Some(owned(hosts)) }
    }

    fn status(config: &PagesConfig, headers: &[(&'static str, &str)]) -> Option<u16> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        let headers = headers.iter().map(pair).collect();
        let refused = config.check(&headers, &Uri::default()).err();
        refused.map(|error| axum::response::IntoResponse::into_response(error).status().as_u16())
    }

    #[test]
    fn requests_of_pages_are_refused_unless_configured() {
        let (local, foreign) = (("host", "127.0.0.1:8080"), ("host", "evil.example"));
        let page = ("origin", "https://app.example");
        let cross_site = ("sec-fetch-site", "cross-site");
        let usual = config(&[], &[]);
        assert_eq!(status(&usual, &[local]), None);
        assert_eq!(status(&usual, &[local, ("origin", "http://127.0.0.1:8080")]), None);
        assert_eq!(status(&usual, &[("host", "backend")]), None);
        assert_eq!(status(&usual, &[]), None);
        for headers in [&[foreign][..], &[("host", "")], &[local, page], &[local, cross_site]] {
            assert_eq!(status(&usual, headers), Some(403), "{headers:?}");
        }
        let named = config(&["https://app.example"], &["evil.example"]);
        assert_eq!(status(&named, &[foreign]), None);
        assert_eq!(status(&named, &[local, page, cross_site]), None);
        assert_eq!(status(&named, &[local, cross_site]), Some(403));
        assert_eq!(status(&named, &[local, ("origin", "https://b.example")]), Some(403));
        let open = config(&["*"], &["*"]);
        assert_eq!(status(&open, &[foreign, page, cross_site]), None);
        let unchecked = PagesConfig::default();
        assert_eq!(status(&unchecked, &[foreign, page, cross_site]), None);
    }

    #[test]
    fn origins_and_hosts_have_a_form() {
        for origin in ["*", "https://app.example", "http://localhost:3000", "http://[::1]:1"] {
            assert_eq!(config(&[origin], &[]).validate(), Ok(()), "{origin}");
        }
        let bad = ["", "app.example", "https://app.example/", "HTTPS://a", "https://A", "https://"];
        for origin in bad {
            let error = config(&[origin], &[]).validate().expect_err(origin);
            assert_eq!((error.field.as_str(), error.value.as_str()), ("cors_origins", origin));
        }
        assert_eq!(config(&[], &["api.example", "*"]).validate(), Ok(()));
        for host in ["", "http://a", "a:80", "a/b"] {
            assert!(config(&[], &[host]).validate().is_err(), "{host}");
        }
    }
}
