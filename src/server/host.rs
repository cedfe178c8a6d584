//! Validation of the `Host` header.

use http::{HeaderValue, Request, Version, header};

/// Returns whether the request has the `Host` header that RFC 9112, section 3.2, requires: exactly
/// one and valid in HTTP/1.1, at most one in the other versions.
pub(super) fn is_valid<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => is_authority(host),
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether all bytes are allowed in `uri-host [ ":" port ]` (RFC 3986, section 3.2.2). An
/// empty value is valid: the target URI has no authority.
fn is_authority(host: &HeaderValue) -> bool {
    host.as_bytes()
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, hosts: &[&'static str]) -> Request<()> {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for host in hosts {
            request.headers_mut().append(header::HOST, HeaderValue::from_static(host));
        }
        request
    }

    #[test]
    fn http_1_1_requires_exactly_one_valid_host() {
        for host in ["", "localhost", "127.0.0.1:8080", "[::1]:8080", "a_b.example"] {
            assert!(is_valid(&request(Version::HTTP_11, &[host])), "{host}");
        }
        for host in ["a b", "a, b", "user@host", "host/path", "a?b", "<a>"] {
            assert!(!is_valid(&request(Version::HTTP_11, &[host])), "{host}");
        }
        assert!(!is_valid(&request(Version::HTTP_11, &[])));
        assert!(!is_valid(&request(Version::HTTP_11, &["a", "a"])));
    }

    #[test]
    fn other_versions_allow_no_host_and_refuse_two() {
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert!(is_valid(&request(version, &[])), "{version:?}");
            assert!(is_valid(&request(version, &["a"])), "{version:?}");
            assert!(!is_valid(&request(version, &["a", "b"])), "{version:?}");
        }
    }
}
