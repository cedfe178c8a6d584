//! Headers that requests to an upstream have by configuration.

use http::{HeaderName, HeaderValue, header};

use super::{Key, UpstreamConfig};
use crate::service::Invalid;

/// Headers that belong to the connection or the body, or are set for each request.
const OURS: [HeaderName; 17] = [
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
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-request-id"),
];
/// Headers of clients that hold secrets meant for this server.
const CLIENTS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE];
/// Most headers in a list.
const MOST: usize = 32;

impl UpstreamConfig {
    /// Checks the lists of headers, and the header of the key.
    pub(super) fn validate_headers(&self, name: &str) -> Result<(), Invalid> {
        let field = |key: &str| format!("upstreams.{name}.{key}");
        if let Some(header) = &self.key_header {
            let allowed = "the name of a header that holds the key alone, such as `api-key`; \
                           missing for `authorization: Bearer …`";
            parse(header).ok_or_else(|| Invalid::new(field("key_header"), header, allowed))?;
        }
        if self.headers.len().max(self.forward_headers.len()) > MOST {
            return Err(Invalid::new(field("headers"), "", format!("at most {MOST} headers")));
        }
        for (header, value) in &self.headers {
            let allowed =
                "the name of a header that belongs neither to the connection nor to the body";
            let parsed =
                parse(header).ok_or_else(|| Invalid::new(field("headers"), header, allowed))?;
            let has_key = self.key.is_some() || self.key_env.is_some() || self.key_file.is_some();
            if has_key && parsed == self.key_name() {
                let allowed = "a header that `key` does not set";
                return Err(Invalid::new(field("headers"), header, allowed));
            }
            if value.plain().is_none() {
                let field = format!("{}.{header}", field("headers"));
                return Err(Invalid::new(field, "(set)", Key::ALLOWED));
            }
        }
        for header in &self.forward_headers {
            let allowed = "the name of a header that belongs neither to the connection nor to the \
                           body; no cookies; `forward_authorization` passes `authorization` on";
            let known = parse(header).filter(|header| !CLIENTS.contains(header));
            known.ok_or_else(|| Invalid::new(field("forward_headers"), header, allowed))?;
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

    /// Headers of clients that are passed on.
    pub(crate) fn forwarded_headers(&self) -> Vec<HeaderName> {
        self.forward_headers.iter().filter_map(|name| parse(name)).collect()
    }
}

/// The name of a header that may be set.
fn parse(name: &str) -> Option<HeaderName> {
    name.parse().ok().filter(|name| !OURS.contains(name))
}
