//! Where a service is.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    str::FromStr,
    sync::Arc,
};

use http::{HeaderValue, Uri};
use thiserror::Error;

/// An `http://` address, resolved.
#[derive(Clone, Debug)]
pub struct Address {
    url: String,
    host: HeaderValue,
    /// What stands before every path, without the last slash.
    prefix: String,
    sockets: Arc<[SocketAddr]>,
}

/// Why an address cannot be driven at.
#[derive(Debug, Error)]
pub enum BadAddress {
    /// The driver has no TLS.
    #[error("https:// is not supported: drive the service from behind what terminates TLS")]
    Https,
    /// No URL with a scheme and a host.
    #[error("a URL such as http://127.0.0.1:8080 is wanted")]
    NoUrl,
    /// The name has no address.
    #[error("cannot resolve: {0}")]
    Unresolved(#[from] std::io::Error),
}

impl Address {
    /// What the name resolved to.
    pub(crate) fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }

    /// The `host` header.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// A path of the service, behind the path of the address itself.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let uri: Uri = text.parse().map_err(|_| BadAddress::NoUrl)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(BadAddress::Https),
            _ => return Err(BadAddress::NoUrl),
        }
        let authority = uri.authority().ok_or(BadAddress::NoUrl)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BadAddress::NoUrl)?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let sockets = (name, authority.port_u16().unwrap_or(80)).to_socket_addrs()?.collect();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { url: text.trim_end_matches('/').to_owned(), host, prefix, sockets })
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        let host = socket.to_string();
        Self {
            url: format!("http://{host}"),
            // Digits, dots, colons and brackets: always a header value.
            host: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            prefix: String::new(),
            sockets: [socket].into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_host_a_port_and_a_prefix() {
        let address: Address = "http://127.0.0.1:81/api/".parse().expect("an address");
        assert_eq!(address.sockets(), ["127.0.0.1:81".parse().expect("a socket")]);
        assert_eq!(address.host(), "127.0.0.1:81");
        assert_eq!(address.path("/x"), "/api/x");
        let address: Address = "http://[::1]".parse().expect("an address");
        assert_eq!(address.sockets(), ["[::1]:80".parse().expect("a socket")]);
        assert_eq!(address.path("/x"), "/x");
    }

    #[test]
    fn says_why_it_is_refused() {
        let error = |text: &str| text.parse::<Address>().expect_err("refused").to_string();
        assert!(error("https://example.org").contains("https:// is not supported"));
        assert!(error("127.0.0.1:8080").contains("http://127.0.0.1:8080"));
        assert!(error("").contains("a URL such as"));
    }
}
