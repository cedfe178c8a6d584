//! TLS on the API and on the diagnostics.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{connect, posted, read, send};
use crate::{
    gateway::support::{CHAT, Mock, stream, whole},
    support::{Server, certificates::Certificates, thermograph, wait},
};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Keys of a section with TLS.
fn keys(certificates: &Certificates) -> String {
    let [cert, key] = certificates.server();
    format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n", cert.display(), key.display())
}

fn start(certificates: &Certificates, rest: &str) -> Server {
    let toml = format!("[api]\n{}{rest}", keys(certificates));
    Server::configured("127.0.0.1:0", &toml, &[])
}

/// A gateway with TLS before a mock.
fn gateway(certificates: &Certificates, mock: &Mock) -> Server {
    let url = mock.url("");
    start(
        certificates,
        &format!("[upstreams.a]\nurl = \"{url}\"\n[models.mock]\nupstreams = [\"a\"]\n"),
    )
}

/// Asks the server by curl, which trusts this authority.
fn curl(server: &Server, path: &str, authority: &Path, more: &[&str]) -> Output {
    let url = format!("https://localhost:{}{path}", server.addresses.api.port());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--cacert"]).arg(authority);
    curl.args(["--write-out", "%{http_version} %{http_code}", "--output", "/dev/null"]);
    curl.args(more).arg(url).output().expect("curl runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A client that speaks HTTP/1.1.
fn client(server: &Server, certificates: &Certificates) -> Client {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(certificates.authority()).expect("read");
    roots.add(authority).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    StreamOwned::new(session, connect(server.addresses.api))
}

/// Everything that comes until the end.
fn rest(client: &mut Client) -> String {
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => panic!("{error}"),
        _ => String::from_utf8(answer).expect("UTF-8"),
    }
}

fn handshakes(server: &Server, result: &str) -> u64 {
    let labels = format!("{{listener=\"api\",result=\"{result}\"}}");
    server.metric(&format!("thermograph_tls_handshakes_total{labels}"))
}

#[test]
fn clients_agree_on_a_version_and_are_answered() {
    let certificates = Certificates::new();
    let server = start(&certificates, "");
    let authority = certificates.authority();
    for (flag, expected) in [("--http2", "2 200"), ("--http1.1", "1.1 200"), ("--tls-max", "2 200")]
    {
        let more = if flag == "--tls-max" { &[flag, "1.2"][..] } else { &[flag] };
        let answer = curl(&server, "/v1/models", &authority, more);
        assert_eq!(text(&answer), expected, "{answer:?}");
    }
    assert_eq!(handshakes(&server, "completed"), 3);
    let expires = server.metric("thermograph_tls_certificate_expiry_timestamp_seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!((now + 86_400..now + 3 * 86_400).contains(&expires), "{expires}");
    let stranger = Certificates::new();
    let answer = curl(&server, "/v1/models", &stranger.authority(), &[]);
    assert_eq!(text(&answer), "0 000", "it is not trusted");
    wait("it is counted", || handshakes(&server, "failed") == 1);
    assert!(server.log().contains("https://127.0.0.1:"), "{}", server.log());
}

#[test]
fn status_of_an_unread_body_is_seen_over_http2() {
    let certificates = Certificates::new();
    let server = start(&certificates, "");
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("body");
    fs::write(&body, vec![b'a'; 4 << 20]).expect("written");
    let data = format!("@{}", body.display());
    for (flag, expected) in [("--http2", "2 404"), ("--http1.1", "1.1 404")] {
        let more = [flag, "--data-binary", &data];
        let answer = curl(&server, "/nothing", &certificates.authority(), &more);
        assert_eq!(text(&answer), expected, "{answer:?}");
    }
}

#[test]
fn client_that_does_not_speak_tls_is_told_so() {
    let certificates = Certificates::new();
    let server = start(&certificates, "");
    let plain = connect(server.addresses.api);
    send(&plain, &posted("/v1/embeddings", "{}"));
    let answer = read(&plain);
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        answer.contains("\"message\":\"plain HTTP on a port of TLS: use https://\""),
        "{answer}"
    );
    wait("it is counted", || handshakes(&server, "plaintext") == 1);
    drop(connect(server.addresses.api));
    wait("a check of the port is counted", || handshakes(&server, "closed") == 1);
    let mut other = connect(server.addresses.api);
    other.write_all(&[0; 64]).expect("sent");
    let _alert = other.read_to_end(&mut Vec::new());
    wait("noise is counted", || handshakes(&server, "failed") == 1);
}

#[test]
fn handshake_has_as_long_as_the_head_of_a_request() {
    let certificates = Certificates::new();
    let server = start(&certificates, "idle_timeout = \"300ms\"");
    let mut silent = connect(server.addresses.api);
    let mut slow = connect(server.addresses.api);
    slow.write_all(&[22]).expect("sent");
    for connection in [&mut silent, &mut slow] {
        // Closed, or reset because of the byte that was not read.
        let _end = connection.read_to_end(&mut Vec::new());
    }
    wait("they are counted", || handshakes(&server, "timeout") == 2);
}

#[test]
fn certificate_is_replaced_with_its_files_and_a_bad_one_is_not_taken() {
    let [first, second] = [Certificates::new(), Certificates::new()];
    let server = start(&first, "");
    let authority = first.authority();
    let trusted = authority.with_file_name("first.pem");
    fs::copy(&authority, &trusted).expect("copied");
    let ask = |authority: &Path| text(&curl(&server, "/health/live", authority, &[]));
    assert_eq!(ask(&trusted), "2 200");
    let mut before = client(&server, &first);
    before.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    before.read_exact(&mut [0; 8]).expect("an answer");

    first.replace_by(&second);
    wait("the second is shown", || ask(&second.authority()) == "2 200");
    assert_eq!(ask(&trusted), "0 000", "the first is gone");
    before
        .write_all(b"GET /nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .expect("sent");
    assert!(rest(&mut before).contains("HTTP/1.1 404"), "its connection goes on");

    let refused = "thermograph_tls_reloads_total{listener=\"api\",result=\"refused\"}";
    let [cert, key] = first.server();
    for (file, bad) in [(&cert, "no certificate"), (&key, "no key")] {
        let count = server.metric(refused);
        fs::write(file, bad).expect("written");
        wait("it is refused", || server.metric(refused) > count);
        assert_eq!(ask(&second.authority()), "2 200", "the second stays");
    }
    let log = server.log();
    let line =
        log.lines().find(|line| line.contains("certificates are as before")).expect("a line");
    assert!(line.contains("api.tls_cert") && line.contains("ERROR"), "{line}");
    // A key that is not the certificate's.
    fs::copy(second.server()[0].clone(), &cert).expect("copied");
    fs::copy(second.client()[1].clone(), &key).expect("copied");
    wait("the key is named", || server.log().contains("api.tls_key"));
    assert_eq!(ask(&second.authority()), "2 200");
}

#[test]
fn clients_need_a_certificate_of_the_authority_that_is_configured() {
    let [certificates, others] = [Certificates::new(), Certificates::new()];
    let authority = certificates.authority();
    let server = start(&certificates, &format!("tls_client_ca = \"{}\"\n", authority.display()));
    let with = |client: &Certificates| {
        let [cert, key] = client.client().map(|file| file.display().to_string());
        text(&curl(&server, "/health/live", &authority, &["--cert", &cert, "--key", &key]))
    };
    assert_eq!(with(&certificates), "2 200");
    assert!(with(&others).ends_with(" 000"));
    assert!(text(&curl(&server, "/health/live", &authority, &[])).ends_with(" 000"));
    wait("both are counted", || handshakes(&server, "failed") == 2);
    assert_eq!(handshakes(&server, "completed"), 1);
}

#[test]
fn half_closed_client_is_answered_and_one_that_leaves_is_cancelled_upstream() {
    let certificates = Certificates::new();
    let mock = Mock::start(&["--latency=1500ms", "--interval=10ms"]);
    let server = gateway(&certificates, &mock);
    let mut half_closed = client(&server, &certificates);
    // The handshake first, so that the end comes together with the request.
    half_closed.conn.complete_io(&mut half_closed.sock).expect("a handshake");
    half_closed
        .conn
        .writer()
        .write_all(posted(CHAT, &stream().to_string()).as_bytes())
        .expect("sent");
    half_closed.conn.send_close_notify();
    half_closed.flush().expect("sent");
    half_closed.sock.shutdown(Shutdown::Write).expect("shut down");
    let answer = rest(&mut half_closed);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
    assert_eq!(mock.counts().answered, 1);

    let mut leaving = client(&server, &certificates);
    leaving.write_all(posted(CHAT, &whole().to_string()).as_bytes()).expect("sent");
    leaving.flush().expect("sent");
    wait("it is asked upstream", || mock.counts().in_flight == 1);
    drop(leaving);
    wait("it is abandoned", || mock.counts().abandoned == 1);
}

#[test]
fn connection_over_the_limit_is_told_so() {
    let certificates = Certificates::new();
    let server = start(&certificates, "max_connections = 1\n");
    let mut first = client(&server, &certificates);
    first.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    first.read_exact(&mut [0; 8]).expect("an answer");
    let answer = curl(&server, "/v1/models", &certificates.authority(), &[]);
    assert_eq!(text(&answer), "2 503", "{answer:?}");
}

#[test]
fn drain_lets_streams_end_and_waits_for_no_handshake() {
    let certificates = Certificates::new();
    let mock = Mock::start(&["--tokens=20", "--interval=100ms"]);
    let mut server = gateway(&certificates, &mock);
    let mut slow = connect(server.addresses.api);
    slow.write_all(&[22]).expect("sent");
    let mut begun = client(&server, &certificates);
    begun.write_all(posted(CHAT, &stream().to_string()).as_bytes()).expect("sent");
    begun.read_exact(&mut [0; 64]).expect("an answer that has begun");
    server.signal(Signal::INT);
    let answer = rest(&mut begun);
    assert!(answer.contains("data: [DONE]"), "{answer}");
    assert!(server.ended().success());
    assert!(server.log().contains("\"message\":\"drained\""), "{}", server.log());
    drop(slow);
}

#[test]
fn diagnostics_speak_tls_beside_a_token() {
    let certificates = Certificates::new();
    let toml = format!("[diagnostics]\n{}", keys(&certificates));
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let url = format!("https://localhost:{}/debug/handlers", server.addresses.diagnostics.port());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--write-out", "%{http_version} %{http_code}", "--output", "/dev/null"]);
    let answer = curl.arg("--cacert").arg(certificates.authority()).arg(url).output().expect("ran");
    assert_eq!(text(&answer), "2 200", "{answer:?}");
    let url = format!("https://localhost:{}", server.addresses.diagnostics.port());
    let handlers = |authority: &Path| {
        let mut handlers = thermograph();
        handlers.args(["handlers", "--url", &url, "--ca-file"]).arg(authority);
        handlers.output().expect("ran")
    };
    let answered = handlers(&certificates.authority());
    assert!(answered.status.success(), "{answered:?}");
    let stranger = Certificates::new();
    assert!(!handlers(&stranger.authority()).status.success(), "it is not trusted");
    let refused = handlers(Path::new("/no/such/file"));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("--ca-file") && error.contains("certificates in PEM"), "{error}");
    let plain = connect(server.addresses.diagnostics);
    send(&plain, "GET /debug/ HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(read(&plain).starts_with("HTTP/1.1 400 "));
    let completed =
        "thermograph_tls_handshakes_total{listener=\"diagnostics\",result=\"completed\"}";
    assert!(server.metric(completed) > 0);
}
