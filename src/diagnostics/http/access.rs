//! Who may ask.
//!
//! With a token, whoever has it: as `authorization: Bearer …`, or as the password of basic
//! authentication, which browsers and scrapers know how to send. Without one the door is on
//! loopback, and only names of this machine are served: a page of another site must not reach
//! it by a name that it has pointed at 127.0.0.1 (DNS rebinding).

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority};

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
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"thermograph\", Bearer")];
        let message = "a token is needed: authorization: Bearer <diagnostics token>\n";
        (!allowed).then(|| (StatusCode::UNAUTHORIZED, challenge, message).into_response())
    }
}

pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.refuse(&request) {
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
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
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
}
