//! Who may ask.
//!
//! With a token, whoever has it: as `authorization: Bearer …`, or as the password of basic
//! authentication, which browsers and scrapers know how to send. Without one the door is on
//! loopback, and only names of this machine are served: a page of another site must not reach
//! it by a name that it has pointed at 127.0.0.1 (DNS rebinding).
//!
//! What changes something is refused where a browser sends it for a page of another site: it would
//! send the password along, or none where none is needed.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{AppendHeaders, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};

use crate::diagnostics::config::Token;

/// The rule, as middleware state.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    token: Token,
}

impl Access {
    pub(crate) fn new(token: Token) -> Self {
        Self { token }
    }

    fn refuse(&self, request: &Request) -> Option<Response> {
        if self.token.is_none() {
            let message = "this host is not served: ask for localhost or an IP address\n";
            return (!is_local(request)).then(|| (StatusCode::FORBIDDEN, message).into_response());
        }
        let allowed = presented(request.headers()).is_some_and(|token| self.token.matches(&token));
        // A header each: browsers ask nobody for a password where the two share one.
        let challenge = AppendHeaders([
            (header::WWW_AUTHENTICATE, "Basic realm=\"thermograph\""),
            (header::WWW_AUTHENTICATE, "Bearer"),
        ]);
        let message = "a token is needed: authorization: Bearer <diagnostics token>\n";
        (!allowed).then(|| (StatusCode::UNAUTHORIZED, challenge, message).into_response())
    }
}

pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.refuse(&request).or_else(|| refuse_other_site(&request)) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

pub(crate) async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A request that changes something, sent by a browser for a page that is not one of this door's.
fn refuse_other_site(request: &Request) -> Option<Response> {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let value = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let site = value(FETCH_SITE);
    let is_of_another = matches!(site, Some(b"cross-site" | b"same-site"))
        || value(header::ORIGIN).is_some_and(|origin| {
            let here = host(request).map(str::to_ascii_lowercase);
            let there = str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"));
            there.map(|(_, there)| there.to_ascii_lowercase()) != here
        });
    let message = "a page of another site must not change anything here\n";
    is_of_another.then(|| (StatusCode::FORBIDDEN, message).into_response())
}

/// The token of a bearer header, or the password of a basic one.
fn presented(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// The host and port that were asked.
fn host(request: &Request) -> Option<&str> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri().authority().map(Authority::as_str))
}

fn is_local(request: &Request) -> bool {
    let Some(authority) = host(request).and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(token: &str, headers: &[(&str, &str)]) -> Option<StatusCode> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        Access::new(Token::new(token)).refuse(&request).map(|refusal| refusal.status())
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_served() {
        for host in ["localhost:6060", "127.0.0.1:6060", "[::1]:6060", "LOCALHOST"] {
            assert_eq!(status("", &[("host", host)]), None, "{host}");
        }
        assert_eq!(status("", &[("host", "evil.example:6060")]), Some(StatusCode::FORBIDDEN));
        assert_eq!(status("", &[]), Some(StatusCode::FORBIDDEN));
    }

    #[test]
    fn with_a_token_it_must_be_presented() {
        let denied = Some(StatusCode::UNAUTHORIZED);
        assert_eq!(status("secret", &[("host", "localhost")]), denied);
        assert_eq!(status("secret", &[("authorization", "Bearer wrong")]), denied);
        assert_eq!(status("secret", &[("authorization", "Bearer secret")]), None);
        // `user:secret`
        assert_eq!(status("secret", &[("authorization", "Basic dXNlcjpzZWNyZXQ=")]), None);
        assert_eq!(status("secret", &[("authorization", "Basic !!!")]), denied);
    }
    #[test]
    fn what_changes_something_is_not_for_pages_of_other_sites() {
        let refused = |method: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).header("host", "localhost:6060");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a request");
            refuse_other_site(&request).map(|refusal| refusal.status())
        };
        let forbidden = Some(StatusCode::FORBIDDEN);
        for method in ["POST", "DELETE", "PUT"] {
            for bad in [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("origin", "http://evil.example"),
                ("origin", "http://localhost:6061"),
                ("origin", "http://localhost"),
                ("origin", "null"),
                ("origin", ""),
            ] {
                assert_eq!(refused(method, &[bad]), forbidden, "{method} {bad:?}");
                assert_eq!(refused("GET", &[bad]), None, "{bad:?}");
            }
            let own = [("sec-fetch-site", "same-origin"), ("origin", "http://LOCALHOST:6060")];
            assert_eq!(refused(method, &own), None, "{method}");
            // Typed by a person, or no browser at all.
            assert_eq!(refused(method, &[("sec-fetch-site", "none")]), None, "{method}");
            assert_eq!(refused(method, &[]), None, "{method}");
        }
    }
}
