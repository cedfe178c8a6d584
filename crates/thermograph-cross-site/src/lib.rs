//! Requests that browsers send on behalf of pages of other sites.
//!
//! A listener on loopback is reachable from every page that is open on the machine. Headers that a page
//! cannot change tell such requests from others: `Host`, a foreign name after DNS rebinding;
//! `Sec-Fetch-Site`; and `Origin`, for browsers that do not send the former (before 2023, and to
//! plain HTTP off loopback).

#![forbid(unsafe_code)]

use http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

/// The host and port that a request is for, as the client wrote them; `None` if it names none.
pub fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| uri.authority().map(Authority::as_str))
}

/// The host that a request is for, in lower case, without a port and without brackets; `None` if it
/// names none or an invalid one.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri, header::HOST};
/// use thermograph_cross_site::{host, is_local};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(HOST, HeaderValue::from_static("[::1]:6060"));
/// let host = host(&headers, &Uri::from_static("/")).expect("a host");
/// assert_eq!(host, "::1");
/// assert!(is_local(&host));
/// ```
pub fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let authority: Authority = authority(headers, uri)?.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Some(host.to_ascii_lowercase())
}

/// Returns whether a host in lower case can only mean this machine: an address, which no one can
/// point elsewhere, or a name that every resolver keeps for loopback (RFC 6761, section 6.3).
pub fn is_local(host: &str) -> bool {
    let is_localhost = host == "localhost" || host.ends_with(".localhost");
    is_localhost || host.parse::<std::net::IpAddr>().is_ok()
}

/// The origin of the page of another site that a browser sent this request for, the text `null` if
/// the browser does not tell it; `None` for pages of this server and for other clients.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri, header::{HOST, ORIGIN}};
/// use thermograph_cross_site::foreign_origin;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(HOST, HeaderValue::from_static("localhost:6060"));
/// headers.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
/// let uri = Uri::from_static("/");
/// assert_eq!(foreign_origin(&headers, &uri), Some("https://evil.example"));
/// headers.insert(ORIGIN, HeaderValue::from_static("http://localhost:6060"));
/// assert_eq!(foreign_origin(&headers, &uri), None);
/// ```
pub fn foreign_origin<'a>(headers: &'a HeaderMap, uri: &Uri) -> Option<&'a str> {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    let site = headers.get(FETCH_SITE).map(http::HeaderValue::as_bytes);
    if matches!(site, Some(b"cross-site" | b"same-site")) {
        return Some(origin.unwrap_or("null"));
    }
    let is_own = |origin: &str| {
        let page = origin.split_once("://").map(|(_, authority)| authority);
        let here = authority(headers, uri);
        page.zip(here).is_some_and(|(page, here)| page.eq_ignore_ascii_case(here))
    };
    origin.filter(|origin| !is_own(origin))
}

/// Returns whether a browser shows the response as a page of its own, as after a click on a link.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &'static str, value: &str| headers.get(name).is_some_and(|it| it == value);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn host_is_local_if_it_can_only_mean_this_machine() {
        let local = ["localhost", "LOCALHOST:6060", "127.0.0.1:8080", "[::1]:80", "a.localhost"];
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "notlocalhost",
            "localhost:80@evil.example",
        ];
        for (hosts, expected) in [(&local[..], true), (&foreign[..], false)] {
            for name in hosts {
                let host = host(&headers(&[("host", name)]), &Uri::default()).expect("a host");
                assert_eq!(is_local(&host), expected, "{name}");
            }
        }
        // HTTP/2 has it in the URI.
        let uri = Uri::from_static("http://evil.example:1/x");
        assert_eq!(host(&HeaderMap::new(), &uri).as_deref(), Some("evil.example"));
        assert_eq!(host(&HeaderMap::new(), &Uri::from_static("/x")), None);
    }

    #[test]
    fn origin_is_foreign_if_site_or_authority_differ() {
        let foreign = |pairs: &[(&'static str, &str)]| {
            let mut headers = headers(pairs);
            headers.insert(header::HOST, http::HeaderValue::from_static("localhost:6060"));
            foreign_origin(&headers, &Uri::default()).map(str::to_owned)
        };
        for (pair, origin) in [
            (("sec-fetch-site", "cross-site"), "null"),
            (("sec-fetch-site", "same-site"), "null"),
            (("origin", "http://evil.example"), "http://evil.example"),
            (("origin", "http://localhost:6061"), "http://localhost:6061"),
            (("origin", "http://localhost"), "http://localhost"),
            (("origin", "null"), "null"),
            (("origin", ""), ""),
        ] {
            assert_eq!(foreign(&[pair]).as_deref(), Some(origin), "{pair:?}");
        }
        let own = [("sec-fetch-site", "same-origin"), ("origin", "http://LOCALHOST:6060")];
        assert_eq!(foreign(&own), None);
        // An address that a person typed, and a client that is no browser.
        assert_eq!(foreign(&[("sec-fetch-site", "none")]), None);
        assert_eq!(foreign(&[]), None);
        let both = [("sec-fetch-site", "cross-site"), ("origin", "http://a.example")];
        assert_eq!(foreign(&both).as_deref(), Some("http://a.example"));
    }
}
