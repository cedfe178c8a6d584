//! Who may ask.
//!
//! With a token, whoever has it: as `authorization: Bearer …`, or as the password of basic
//! authentication, which browsers and scrapers know how to send. Without one the door is on
//! loopback, and only names of this machine are served: a page of another site must not reach
//! it by a name that it has pointed at 127.0.0.1 (DNS rebinding).
//!
//! Requests that a browser sends on behalf of a page of another site are refused: it would send the
//! password along, or none where none is needed. A link to a page of the diagnostics works, if it
//! does not start a capture.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{AppendHeaders, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::config::Token;

/// Parameters with which a route that otherwise shows existing data starts a capture, or ends another
/// one.
const STARTS_CAPTURE: [&str; 3] = ["seconds", "full", "force"];

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

/// Refuses requests of pages of other sites, links among them: for routes that start captures.
pub(crate) async fn own_pages_only(request: Request, next: Next) -> Response {
    match thermograph_cross_site::foreign_origin(request.headers(), request.uri()) {
        Some(_) => other_site(),
        None => next.run(request).await,
    }
}

/// Refuses requests of pages of other sites, but for links to what is there already.
fn refuse_other_site(request: &Request) -> Option<Response> {
    thermograph_cross_site::foreign_origin(request.headers(), request.uri())?;
    let is_link =
        request.method() == Method::GET && thermograph_cross_site::is_navigation(request.headers());
    let query = request.uri().query().unwrap_or_default();
    let starts_capture = query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        STARTS_CAPTURE.contains(&name)
    });
    (!is_link || starts_capture).then(other_site)
}

fn other_site() -> Response {
    let message = "request of a page of another site: not allowed\n";
    (StatusCode::FORBIDDEN, message).into_response()
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

fn is_local(request: &Request) -> bool {
    let host = thermograph_cross_site::host(request.headers(), request.uri());
    host.is_some_and(|host| thermograph_cross_site::is_local(&host))
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
    fn pages_of_other_sites_are_refused_but_for_links() {
        let refused = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in [("host", "localhost:6060")].iter().chain(headers) {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a request");
            refuse_other_site(&request).map(|refusal| refusal.status())
        };
        let forbidden = Some(StatusCode::FORBIDDEN);
        let cross_site = ("sec-fetch-site", "cross-site");
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PUT"] {
            for bad in [cross_site, ("origin", "http://evil.example")] {
                assert_eq!(refused(method, "/debug/", &[bad]), forbidden, "{method} {bad:?}");
            }
            assert_eq!(refused(method, "/debug/", &[]), None, "{method}");
        }
        let link = |dest| [cross_site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", dest)];
        assert_eq!(refused("GET", "/debug/?a=b", &link("document")), None);
        assert_eq!(refused("POST", "/debug/captures", &link("document")), forbidden);
        assert_eq!(refused("GET", "/debug/", &link("iframe")), forbidden);
        for query in ["seconds=1", "format=html&seconds=1", "full", "force=true"] {
            let path = format!("/debug/diagnosis?{query}");
            assert_eq!(refused("GET", &path, &link("document")), forbidden, "{query}");
        }
    }
}
