//! Addresses that are allowed each, and cannot work together.

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use thermograph::ConsoleMode;
use thermograph_service::upstream::UpstreamConfig;

use super::Config;

/// Path of a key and its address.
type Listener = (&'static str, SocketAddr);

/// Checks the listeners, and upstreams against them. An error is the path of a value and what is
/// allowed.
pub(super) fn check(config: &Config) -> Result<(), (String, String)> {
    let listeners = listeners(config);
    for (place, (key, address)) in listeners.iter().enumerate() {
        let same = listeners[..place].iter().find(|(_, other)| is_shared(*address, *other));
        if let Some((other_key, other)) = same {
            let allowed = format!("an address other than that of `{other_key}`, which is {other}");
            return Err(((*key).to_owned(), allowed));
        }
    }
    for (name, upstream) in &config.upstreams {
        let own = listeners.iter().find(|(_, address)| is_at(upstream, *address));
        if let Some((key, address)) = own {
            let allowed =
                format!("another server: this one listens there itself (`{key}` is {address})");
            return Err((format!("upstreams.{name}.url"), allowed));
        }
    }
    Ok(())
}

/// Listeners with a fixed port.
fn listeners(config: &Config) -> Vec<Listener> {
    let diagnostics = &config.diagnostics;
    let has_console = diagnostics.console != ConsoleMode::Off;
    let listeners = [
        config.api.listen.tcp().map(|address| ("api.listen", address)),
        Some(("diagnostics.listen", diagnostics.listen)),
        has_console.then_some(("diagnostics.console_listen", diagnostics.console_listen)),
    ];
    listeners.into_iter().flatten().filter(|(_, address)| address.port() != 0).collect()
}

/// Returns whether of two listeners the second one would find its address in use.
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    let is_covered = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() == other.port() && is_covered
}

/// Returns whether requests to an upstream would arrive at a listener of this process.
fn is_at(upstream: &UpstreamConfig, listener: SocketAddr) -> bool {
    // Loopback of a proxy is the proxy's machine.
    let is_direct = upstream.proxy.as_deref().is_none_or(|proxy| proxy == "none");
    let Ok(uri) = upstream.url.parse::<Uri>() else { return false };
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_port = uri.port_u16().unwrap_or(default) == listener.port();
    is_direct && is_port && is_served(host, listener.ip().to_canonical())
}

/// Returns whether a listener on `ip` serves connections of this machine to `host`.
fn is_served(host: &str, ip: IpAddr) -> bool {
    match host.parse::<IpAddr>().map(|host| host.to_canonical()) {
        Err(_) => {
            host.eq_ignore_ascii_case("localhost") && (ip.is_loopback() || ip.is_unspecified())
        }
        // The system connects to loopback instead.
        Ok(host) if host.is_unspecified() => ip.is_loopback() || ip.is_unspecified(),
        Ok(host) => host == ip || ip.is_unspecified() && host.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_an_address_by_port_and_host() {
        for (one, other, shared) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[::]:1", "[::1]:1", true),
        ] {
            let address = |text: &str| text.parse::<SocketAddr>().expect(text);
            assert_eq!(is_shared(address(one), address(other)), shared, "{one} {other}");
            assert_eq!(is_shared(address(other), address(one)), shared, "{one} {other}");
        }
    }

    #[test]
    fn upstream_is_this_server_by_port_and_local_host() {
        for (url, listener, is_own) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://127.0.0.1:8080/v1", "0.0.0.0:8080", true),
            ("http://localhost:8080", "127.0.0.1:8080", true),
            ("http://LOCALHOST", "0.0.0.0:80", true),
            ("https://localhost", "0.0.0.0:443", true),
            ("http://0.0.0.0:8080", "127.0.0.1:8080", true),
            ("http://[::1]:8080", "[::]:8080", true),
            ("http://[::ffff:127.0.0.1]:8080", "127.0.0.1:8080", true),
            ("http://10.0.0.1:8080", "10.0.0.1:8080", true),
            ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
            ("http://127.0.0.2:8080", "127.0.0.1:8080", false),
            ("http://localhost:8080", "10.0.0.1:8080", false),
            ("http://10.0.0.2:8080", "0.0.0.0:8080", false),
            ("http://llama:8080", "0.0.0.0:8080", false),
        ] {
            let listener = listener.parse().expect("an address");
            let mut upstream = UpstreamConfig::new(url);
            assert_eq!(is_at(&upstream, listener), is_own, "{url} {listener}");
            upstream.proxy = Some("http://proxy:3128".to_owned());
            assert!(!is_at(&upstream, listener), "{url}");
        }
    }
}
