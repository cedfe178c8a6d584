//! Upstreams behind TLS, as nginx ends it, and HTTP/2 with it and without.

mod nginx;

use std::fs;

use tokio::task::JoinSet;

pub(super) use self::nginx::Nginx;
use super::support::{CHAT, Client, End, Mock, Setup, stream, whole};
use crate::support::{Server, certificates::Certificates, get, post, thermograph, wait};

/// A gateway before nginx; the environment says whom the system trusts.
fn before(nginx: &Nginx, keys: &str, variables: &[(&str, &str)]) -> Server {
    let url = nginx.url();
    let toml = format!(
        "[upstreams.a]\nurl = \"{url}\"\n{keys}\n[models.mock]\nupstreams = [\"a\"]\n\
         [gateway]\nretries = 0\n"
    );
    Server::configured("127.0.0.1:0", &toml, variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_says_whom_to_trust_and_both_sides_agree_on_a_version() {
    let mock = Mock::start(&[]);
    let certificates = Certificates::new();
    let keys = format!("ca_file = \"{}\"", certificates.authority().display());
    for (offered, spoken) in [("http2", "HTTP/2.0"), ("", "HTTP/1.1")] {
        let nginx = Nginx::start(&certificates, offered, mock.address);
        let server = before(&nginx, &keys, &[]);
        let mut client = Client::new(server.addresses.api);
        for body in [whole(), stream()] {
            assert_eq!(client.post(CHAT, &body).await.end(), End::Answered);
        }
        let asked = format!("POST {CHAT} {spoken} TLSv1.3 200");
        let log = || nginx.requests();
        wait("nginx has written its log", || log().matches(&asked).count() == 2);
        assert!(!log().contains(if offered.is_empty() { "HTTP/2" } else { "HTTP/1" }), "{}", log());
    }
}

#[test]
fn who_is_not_trusted_is_told_of_and_not_spoken_to() {
    let mock = Mock::start(&[]);
    let [certificates, others] = [Certificates::new(), Certificates::new()];
    let nginx = Nginx::start(&certificates, "http2", mock.address);
    // The system trusts somebody, but not nginx.
    let others = others.authority();
    let others = others.to_str().expect("text");
    let server = before(&nginx, "", &[("SSL_CERT_FILE", others)]);
    let refused = post(&server.api(CHAT), &whole().to_string());
    assert_eq!(refused.status, 502, "{refused:?}");
    let message = refused.error()["message"].to_string();
    assert!(message.contains("the upstream cannot be reached"), "{message}");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("an attempt failed")).expect("a line");
    assert!(line.contains("certificate") && line.contains("\"upstream\":\"a\""), "{line}");
    assert_eq!(mock.counts().requests_total, 0);
}

#[test]
fn whom_to_trust_is_known_before_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("thermograph.toml");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").expect("written");
    let cases = [
        ("ca_file = \"/no/such/file\"", "ca_file = \"/no/such/file\" is not allowed"),
        (&*format!("ca_file = {empty:?}"), "there is none in it"),
        ("", "ca_file: the system has no certificates to trust"),
    ];
    for (keys, said) in cases {
        std::fs::write(&config, format!("[upstreams.a]\nurl = \"https://a\"\n{keys}\n"))
            .expect("written");
        let mut program = thermograph();
        program.args(["serve", "--listen=127.0.0.1:0", "--diagnostics-listen=127.0.0.1:0"]);
        program.args(["--console-listen=127.0.0.1:0", "--config"]).arg(&config);
        // The system trusts nobody.
        program.env("SSL_CERT_FILE", &empty).env_remove("SSL_CERT_DIR");
        let refused = program.output().expect("ran");
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(error.contains("upstreams.a.ca_file") && error.contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_needs_one_connection_for_many_at_once() {
    let mock = Mock::start(&["--latency=50ms"]);
    let each = "http2 = true\nhealth.interval = \"1h\"\nidle_timeout = \"1m\"";
    let server = Setup { each, ..Setup::of(&[&mock]) }.start();
    wait("the mock was checked", || get(&server.api("/health/ready")).status == 200);
    let before = mock.counts().connections_total;
    let address = server.addresses.api;
    let ask = |place: usize| async move {
        let body = if place.is_multiple_of(2) { whole() } else { stream() };
        Client::new(address).post(CHAT, &body).await.end()
    };
    let ends = (0..64).map(ask).collect::<JoinSet<_>>().join_all().await;
    assert!(ends.iter().all(|end| *end == End::Answered), "{ends:?}");
    let counts = mock.counts();
    assert_eq!(counts.answered, 64);
    assert_eq!(counts.connections_total - before, 1 + 1, "one, and that which asks here");
    assert_eq!(server.metric("thermograph_upstream_connections_opened_total"), 1);
}

/// A server with TLS whose clients must have a certificate of this authority, in front of a mock.
fn behind_tls(certificates: &Certificates, mock: &Mock) -> Server {
    let [cert, key] = certificates.server();
    let toml = format!(
        "[api]\ntls_cert = \"{}\"\ntls_key = \"{}\"\ntls_client_ca = \"{}\"\n\
         [upstreams.mock]\nurl = \"{}\"\n",
        cert.display(),
        key.display(),
        certificates.authority().display(),
        mock.url("")
    );
    Server::configured("127.0.0.1:0", &toml, &[])
}

#[test]
fn certificate_for_an_upstream_is_shown_and_replaced_with_its_files() {
    let mock = Mock::start(&[]);
    let [right, gateways] = [Certificates::new(), Certificates::new()];
    let upstream = behind_tls(&right, &mock);
    let [cert, key] = gateways.client();
    let toml = format!(
        "[upstreams.a]\nurl = \"https://localhost:{}\"\nca_file = \"{}\"\n\
         tls_cert = \"{}\"\ntls_key = \"{}\"\nhealth.interval = \"1h\"\n\
         [models.mock]\nupstreams = [\"a\"]\n[gateway]\nretries = 0\n",
        upstream.addresses.api.port(),
        gateways.authority().display(),
        cert.display(),
        key.display(),
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let ask = || post(&server.api(CHAT), &whole().to_string()).status;
    assert_eq!(ask(), 502, "its authority is another one");
    fs::copy(right.authority(), gateways.authority()).expect("copied");
    // In TLS 1.3 the server looks at the certificate after the client takes the handshake to be over.
    wait("its authority is known", || server.log().contains("\"keys\":\"upstreams.a.ca_file\""));
    assert_eq!(ask(), 502, "it trusts another authority");
    gateways.replace_by(&right);
    wait("it is shown the certificate that it wants", || ask() == 200);
    let refused = "thermograph_config_reloads_total{result=\"refused\"}";
    let before = server.metric(refused);
    fs::write(&key, "no key").expect("written");
    wait("a bad key is refused", || server.metric(refused) > before);
    assert_eq!(ask(), 200);
    let log = server.log();
    assert!(log.contains("upstreams.a.tls_key = ") && log.contains("in PEM"), "{log}");
}
