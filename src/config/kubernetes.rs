//! Variables that Kubernetes sets for each Service of the namespace, in the format of Docker's links:
//! those of a Service whose name begins with `thermograph` begin as ours do.
//!
//! See "Discovering services" in <https://kubernetes.io/docs/concepts/services-networking/service/>.

use std::net::IpAddr;

/// Protocols of a Service's ports.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Returns whether this is a variable of a Service, by its name and value.
pub(super) fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_address = value.parse::<IpAddr>().is_ok();
    let is_port = value.parse::<u16>().is_ok();
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    let is_url = scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme));
    // Such as `…_PORT_8080_TCP` and a suffix.
    let is_of_port = |suffix: &str| {
        let port = name.strip_suffix(suffix).and_then(|name| name.rsplit_once("_PORT_"));
        port.is_some_and(|(_, port)| is_port_and_protocol(port))
    };
    let is_service_port = name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_");
    is_address && (name.ends_with("_SERVICE_HOST") || is_of_port("_ADDR"))
        || is_port && (is_service_port || is_of_port("_PORT"))
        || is_url && (name.ends_with("_PORT") || is_of_port(""))
        || PROTOCOLS.contains(&value) && is_of_port("_PROTO")
}

/// Returns whether a text is such as `8080_TCP`.
fn is_port_and_protocol(text: &str) -> bool {
    text.split_once('_').is_some_and(|(port, protocol)| {
        let is_known = PROTOCOLS.iter().any(|known| protocol == known.to_ascii_uppercase());
        port.parse::<u16>().is_ok() && is_known
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_is_of_a_service_if_name_and_value_are() {
        let of_a_service = [
            ("A_SERVICE_HOST", "10.0.0.1"),
            ("A_SERVICE_HOST", "fd00::1"),
            ("A_SERVICE_PORT", "8080"),
            ("A_SERVICE_PORT_HTTP_API", "8080"),
            ("A_PORT", "tcp://10.0.0.1:8080"),
            ("A_PORT", "tcp://[fd00::1]:8080"),
            ("A_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("A_PORT_53_UDP_PROTO", "udp"),
            ("A_B_PORT_53_SCTP_PORT", "53"),
            ("A_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        for (name, value) in of_a_service {
            assert!(is_of_a_service(name, value), "{name}={value}");
        }
        let others = [
            ("A_FOO", "tcp://10.0.0.1:8080"),
            ("A_PORT", "8080"),
            ("A_PORT", "http://10.0.0.1:8080"),
            ("A_SERVICE_HOST", "somewhere"),
            ("A_SERVICE_PORT", "http"),
            ("A_PORT_X_TCP", "tcp://10.0.0.1:8080"),
            ("A_PORT_8080_HTTP", "tcp://10.0.0.1:8080"),
            ("A_PORT_8080_TCP_NAME", "10.0.0.1"),
            ("A_PORT_8080_TCP_PORT", "x"),
        ];
        for (name, value) in others {
            assert!(!is_of_a_service(name, value), "{name}={value}");
        }
    }
}
