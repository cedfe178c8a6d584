//! Proxies between this server and its upstreams.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::BoxError;
use http::{HeaderValue, Uri};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use thermograph_common::Cooperative;
use tokio::net::TcpStream;
use tower_service::Service;

use super::UpstreamConfig;

/// A proxy of HTTP, with the words for who it is.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    uri: Uri,
    auth: Option<HeaderValue>,
    /// Source of its address: a key of the configuration, or the environment.
    source: &'static str,
}

/// Connects to an upstream, or to a proxy that does.
#[derive(Clone, Debug)]
pub(super) enum Dialer {
    Direct(HttpConnector),
    /// All connections go to this host, whatever the upstream's is: it reads from the requests where they
    /// are to go.
    Forward(HttpConnector, Uri),
    /// Through a tunnel (`CONNECT`).
    Tunnel(Tunnel<HttpConnector>),
}

/// Value of `proxy` for none, whatever the environment says.
const NONE: &str = "none";

impl Proxy {
    /// Addresses of proxies.
    pub(super) const ALLOWED: &str =
        "`http://host:port`, with `user:password@` if need be, or `none` for no proxy";

    /// Returns whether this can be configured.
    pub(super) fn is_valid(proxy: &str) -> bool {
        let is_url = |uri| is_http(&uri) && !proxy.contains('#');
        proxy == NONE || proxy.parse().is_ok_and(is_url)
    }

    /// The proxy for an upstream: the configured one, or that of the environment. An error is the address
    /// of one that is no proxy of HTTP.
    pub(super) fn of(config: &UpstreamConfig, target: &Uri) -> Result<Option<Self>, String> {
        let (matcher, source) = match config.proxy.as_deref() {
            Some(NONE) => return Ok(None),
            Some(proxy) => (Matcher::builder().all(proxy).build(), "`proxy`"),
            None if is_loopback(target) => return Ok(None),
            None => (Matcher::from_env(), "the environment"),
        };
        let Some(found) = matcher.intercept(target) else { return Ok(None) };
        if !is_http(found.uri()) {
            let scheme = found.uri().scheme_str().unwrap_or_default();
            return Err(format!("{scheme}://…"));
        }
        Ok(Some(Self { uri: found.uri().clone(), auth: found.basic_auth().cloned(), source }))
    }

    /// Address and source, without a password.
    pub(super) fn shown(&self) -> String {
        let (host, port) = (self.uri.host().unwrap_or_default(), self.uri.port_u16());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("http://{host}{port} (by {})", self.source)
    }
}

impl Dialer {
    /// Connects by a proxy, if there is one. Without TLS a proxy reads requests and forwards them, but
    /// for HTTP/2.
    pub(super) fn new(tcp: HttpConnector, proxy: Option<&Proxy>, reads: bool) -> Self {
        match proxy {
            None => Self::Direct(tcp),
            Some(proxy) if reads => Self::Forward(tcp, proxy.uri.clone()),
            Some(Proxy { uri, auth, .. }) => {
                let tunnel = Tunnel::new(uri.clone(), tcp);
                Self::Tunnel(match auth {
                    Some(auth) => tunnel.with_auth(auth.clone()),
                    None => tunnel,
                })
            }
        }
    }

    /// `proxy-authorization` of requests that the proxy reads.
    pub(super) fn auth(proxy: &Proxy) -> Option<HeaderValue> {
        let mut auth = proxy.auth.clone()?;
        auth.set_sensitive(true);
        Some(auth)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Cooperative<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(tcp) | Self::Forward(tcp, _) => {
                tcp.poll_ready(context).map_err(Into::into)
            }
            Self::Tunnel(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => cooperative(tcp.call(upstream)),
            Self::Forward(tcp, proxy) => cooperative(tcp.call(proxy.clone())),
            Self::Tunnel(tunnel) => cooperative(tunnel.call(with_port(upstream))),
        }
    }
}

/// Has a connection yield to other tasks, once it is there.
fn cooperative<E: Into<BoxError>>(
    connecting: impl Future<Output = Result<TokioIo<TcpStream>, E>> + Send + 'static,
) -> <Dialer as Service<Uri>>::Future {
    Box::pin(async {
        let stream = connecting.await.map_err(Into::into)?;
        Ok(TokioIo::new(Cooperative::new(stream.into_inner())))
    })
}

/// A URI with its port: a tunnel without one leads to the port of HTTPS.
fn with_port(uri: Uri) -> Uri {
    let (Some("http"), None, Some(host)) = (uri.scheme_str(), uri.port(), uri.host()) else {
        return uri;
    };
    format!("http://{host}:80/").parse().unwrap_or(uri)
}

fn is_http(proxy: &Uri) -> bool {
    proxy.scheme_str() == Some("http") && proxy.host().is_some_and(|host| !host.is_empty())
}

/// Returns whether it is this machine, for which no environment means a proxy.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(proxy: &str, target: &str) -> Option<Proxy> {
        let config =
            UpstreamConfig { proxy: Some(proxy.to_owned()), ..UpstreamConfig::new(target) };
        Proxy::of(&config, &target.parse().expect("a URL")).expect("a proxy")
    }

    #[test]
    fn configured_proxies_are_used_and_shown_without_their_password() {
        let proxy = of("http://me:hush@proxy:3128", "https://a/v1").expect("a proxy");
        assert_eq!(proxy.shown(), "http://proxy:3128 (by `proxy`)");
        let auth = Dialer::auth(&proxy).expect("a password");
        assert!(auth.is_sensitive() && auth == "Basic bWU6aHVzaA==");
        assert!(of("none", "https://a/v1").is_none());
        assert!(of("http://proxy:1", "http://127.0.0.1:2/v1").is_some());
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for good in ["none", "http://a", "http://a:1", "http://u:p@a:1/"] {
            assert!(Proxy::is_valid(good), "{good}");
        }
        for bad in ["", "a:1", "https://a", "socks5://a", "http://", "http://a#b"] {
            assert!(!Proxy::is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn loopback_has_no_proxy_by_the_environment() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:2", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("a URL")), expected, "{url}");
        }
    }
}
