//! Upstreams that are reached by a proxy, which alone knows where they are.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::{
    support::{Mock, ask, stream, whole},
    tls::Nginx,
};
use crate::support::{Server, certificates::Certificates, get};

/// A proxy that leads to one server, whatever host is asked for, and notes the heads that it reads.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, noted) = (client.expect("a connection"), Arc::clone(&noted));
                // Whoever closes ends it.
                thread::spawn(move || drop(lead(client, server, &noted)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }
}

fn lead(mut client: TcpStream, server: SocketAddr, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_tunnel = text.starts_with("CONNECT ");
    noted.lock().expect("no panic").push(text);
    let mut server = TcpStream::connect(server)?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        server.write_all(&head)?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        // Whoever closes ends it.
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// A gateway before a host that nobody but the proxy knows.
fn gateway(lines: &str, variables: &[(&str, &str)]) -> Server {
    let toml =
        format!("[upstreams.a]\ndiscover = false\n{lines}\n[models.mock]\nupstreams = [\"a\"]\n");
    Server::configured("127.0.0.1:0", &toml, variables)
}

#[test]
fn requests_without_tls_are_read_by_the_proxy() {
    let mock = Mock::start(&["--tokens=3"]);
    let proxy = Proxy::start(mock.address);
    let configured = format!("proxy = \"{}\"", proxy.url("me:hush@"));
    let url = "url = \"http://upstream.invalid/base\"";
    let by_environment = [("HTTP_PROXY", &*proxy.url("me:hush@"))];
    for (lines, variables) in
        [(format!("{url}\n{configured}"), &[][..]), (url.to_owned(), &by_environment)]
    {
        let before = proxy.heads().len();
        let server = gateway(&lines, variables);
        // The mock knows no such path: it is an answer all the same.
        assert_eq!(ask(&server, &whole()).status, 404);
        let heads = proxy.heads();
        assert_eq!(heads.len(), before + 1);
        let head = &heads[before];
        assert!(
            head.starts_with("POST http://upstream.invalid/base/chat/completions HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("host: upstream.invalid\r\n"), "{head}");
        assert!(head.contains("proxy-authorization: Basic bWU6aHVzaA==\r\n"), "{head}");
        let doctor = get(&server.diagnostics("/debug/doctor")).text;
        assert!(doctor.contains(&format!("reached by http://{}", proxy.address)), "{doctor}");
        assert!(!doctor.contains("hush") && !server.log().contains("hush"));
    }
}

#[test]
fn no_proxy_is_used_where_none_is_wanted() {
    let mock = Mock::start(&["--tokens=3"]);
    let proxy = Proxy::start(mock.address);
    let variables =
        [("HTTP_PROXY", &*proxy.url("")), ("NO_PROXY", "upstream.invalid"), ("ALL_PROXY", "")];
    let url = "url = \"http://upstream.invalid/v1\"";
    for lines in [url.to_owned(), format!("{url}\nproxy = \"none\"")] {
        assert_eq!(ask(&gateway(&lines, &variables), &whole()).status, 502, "{lines}");
    }
    let variables = [("HTTP_PROXY", &*proxy.url("")), ("ALL_PROXY", &*proxy.url(""))];
    let here = format!("url = \"http://{}\"", mock.address);
    assert_eq!(ask(&gateway(&here, &variables), &whole()).status, 200);
    assert_eq!(proxy.heads().len(), 0, "{:?}", proxy.heads());
}

#[test]
fn tls_and_http2_go_through_a_tunnel() {
    let mock = Mock::start(&["--tokens=3"]);
    let certificates = Certificates::new();
    let nginx = Nginx::start(&certificates, "http2", mock.address);
    let proxy = Proxy::start(nginx.address());
    let lines = format!(
        "url = \"https://localhost:9/v1\"\nproxy = \"{}\"\nca_file = \"{}\"",
        proxy.url("me:hush@"),
        certificates.authority().display()
    );
    let server = gateway(&lines, &[]);
    for body in [whole(), stream()] {
        assert_eq!(ask(&server, &body).status, 200);
    }
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].starts_with("CONNECT localhost:9 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("roxy-") && heads[0].contains("Basic bWU6aHVzaA=="), "{heads:?}");

    // The port of `http` is not that of the tunnel's default.
    let proxy = Proxy::start(mock.address);
    let lines = format!(
        "url = \"http://upstream.invalid/v1\"\nhttp2 = true\nproxy = \"{}\"",
        proxy.url("")
    );
    assert_eq!(ask(&gateway(&lines, &[]), &whole()).status, 200);
    assert!(proxy.heads()[0].starts_with("CONNECT upstream.invalid:80 "), "{:?}", proxy.heads());
}
