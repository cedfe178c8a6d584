//! Headers that requests to an upstream have by configuration.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue, header};
use thermograph_common::Invalid;

use super::{Key, UpstreamConfig};

/// Headers that belong to the connection or the body, or are set for each request.
const OURS: [HeaderName; 18] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-request-id"),
];
/// Headers whose values belong to one client and this server.
const COOKIES: [HeaderName; 2] = [header::COOKIE, header::SET_COOKIE];
/// Last words of the names of headers that hold keys, such as `x-goog-api-key`.
const CREDENTIALS: [&str; 5] = ["apikey", "authorization", "key", "secret", "token"];
/// Most headers in a list.
const MOST: usize = 32;

const ALLOWED: &str =
    "the name of a header, without `*`, that belongs neither to the connection nor to the body";
const FORWARDED: &str = "the name of a header, without `*`, that belongs neither to the connection nor to the \
                         body; no cookies; `forward_authorization` passes `authorization` on";
const ONCE: &str = "each header once: capital and small letters are the same";

impl UpstreamConfig {
    /// Checks the lists of headers, and the header of the key.
    pub(super) fn validate_headers(&self, name: &str) -> Result<(), Invalid> {
        let field = |key: &str| format!("upstreams.{name}.{key}");
        let has_key = self.key.is_some() || self.key_env.is_some() || self.key_file.is_some();
        if let Some(header) = &self.key_header {
            let allowed = "the name of a header that holds the key alone, such as `api-key`; \
                           missing for `authorization: Bearer …`";
            let refused = |allowed| Invalid::new(field("key_header"), header, allowed);
            let known = parse(header).filter(|header| !COOKIES.contains(header));
            known.ok_or_else(|| refused(allowed))?;
            if !has_key {
                return Err(refused("only together with `key`, `key_env` or `key_file`"));
            }
        }
        if self.headers.len().max(self.forward_headers.len()) > MOST {
            return Err(Invalid::new(field("headers"), "", format!("at most {MOST} headers")));
        }
        let mut known = HashSet::new();
        for (header, value) in &self.headers {
            let refused = |allowed| Invalid::new(field("headers"), header, allowed);
            let parsed = parse(header).ok_or_else(|| refused(ALLOWED))?;
            if has_key && parsed == self.key_name() {
                return Err(refused("a header that `key` does not set"));
            }
            if !known.insert(parsed) {
                return Err(refused(ONCE));
            }
            if value.plain().is_none() {
                let field = format!("{}.{header}", field("headers"));
                return Err(Invalid::new(field, "(set)", Key::ALLOWED));
            }
        }
        let mut known = HashSet::new();
        for header in &self.forward_headers {
            let refused = |allowed| Invalid::new(field("forward_headers"), header, allowed);
            let parsed = parse(header)
                .filter(|header| *header != header::AUTHORIZATION && !COOKIES.contains(header))
                .ok_or_else(|| refused(FORWARDED))?;
            if !known.insert(parsed) {
                return Err(refused(ONCE));
            }
        }
        Ok(())
    }

    /// Name of the header with the key.
    pub(crate) fn key_name(&self) -> HeaderName {
        self.key_header.as_deref().and_then(parse).unwrap_or(header::AUTHORIZATION)
    }

    /// Headers that all requests have: the key, and the configured ones.
    pub(crate) fn own_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let key = self.key.as_ref().and_then(|key| match self.key_header {
            Some(_) => key.plain(),
            None => key.header(),
        });
        let key = key.map(|value| (self.key_name(), value));
        let others = self.headers.iter();
        let others = others.filter_map(|(name, value)| Some((parse(name)?, value.plain()?)));
        key.into_iter().chain(others).collect()
    }

    /// Returns whether requests have a key of this server, so that a 401 is not the client's: `key`, or one
    /// in `headers`. Beside a client's `authorization`, a static header of another name is no such key.
    pub(crate) fn has_own_key(&self) -> bool {
        self.own_headers().iter().any(|(name, _)| {
            *name == self.key_name() || (!self.forward_authorization && is_credential(name))
        })
    }

    /// Headers of clients that are passed on.
    pub(crate) fn forwarded_headers(&self) -> Vec<HeaderName> {
        self.forward_headers.iter().filter_map(|name| parse(name)).collect()
    }
}

/// The name of a header that may be set. `*` may be in names, but is meant as a pattern.
fn parse(name: &str) -> Option<HeaderName> {
    name.parse().ok().filter(|parsed| !OURS.contains(parsed) && !name.contains('*'))
}

/// Returns whether a header holds a key, by its name.
fn is_credential(name: &HeaderName) -> bool {
    let word = name.as_str().rsplit(['-', '_']).next().unwrap_or_default();
    CREDENTIALS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_headers_are_the_servers_own() {
        let upstream = |header: &str, forward_authorization| {
            let headers = [(header.to_owned(), Key::from("hush".to_owned()))].into();
            let config = UpstreamConfig { headers, ..UpstreamConfig::new("http://a") };
            UpstreamConfig { forward_authorization, ..config }
        };
        for (header, alone, beside_a_client) in [
            ("Authorization", true, true),
            ("x-api-key", true, false),
            ("api-key", true, false),
            ("x-goog-api-key", true, false),
            ("apikey", true, false),
            ("cf-aig-authorization", true, false),
            ("x-author", false, false),
            ("x-tenant", false, false),
        ] {
            let found = [false, true].map(|forwards| upstream(header, forwards).has_own_key());
            assert_eq!(found, [alone, beside_a_client], "{header}");
        }
        let key = Some(Key::from("hush".to_owned()));
        let key_header = Some("x-other".to_owned());
        let config = UpstreamConfig { key, key_header, ..upstream("x-tenant", true) };
        assert!(config.has_own_key());
    }
}
