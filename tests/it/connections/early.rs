//! Answers over HTTP/2 to requests whose body was not read.

use super::{connect, posted, send};
use crate::{
    gateway::support::{CHAT, Mock, gateway, whole},
    support::{Server, python, wait},
};

/// A version that reports a broken stream where the server resets it.
const HTTPX: &[&str] = &["httpx[http2]==0.28.1"];

/// Posts large bodies; a case is a path, one more header, and the status that the client must see.
fn check(server: &Server, cases: &[[&str; 3]]) {
    let url = server.api("");
    let arguments: Vec<_> = [url.as_str()].into_iter().chain(cases.concat()).collect();
    python::check(HTTPX, "early_answers.py", &arguments);
}

#[test]
fn http2_client_sees_the_status_of_an_unread_body() {
    let server = Server::start();
    let cases = [
        ["/v1/embeddings", "", "413"],
        ["/nothing", "", "404"],
        ["/v1/models", "", "405"],
        ["/v1/embeddings", "content-type: text/plain", "415"],
        ["/v1/embeddings", "accept: text/html", "406"],
    ];
    check(&server, &cases);
}

#[test]
fn http2_client_without_a_key_sees_401() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let store = format!(
        "[store]\nurl = \"sqlite:{path}/store.db\"\nspool = \"{path}/spool\"\nrequire_keys = true"
    );
    let server = Server::configured("127.0.0.1:0", &store, &[]);
    check(&server, &[["/v1/embeddings", "", "401"]]);
}

#[test]
fn http2_client_sees_503_of_a_full_gateway() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let rest = "[gateway]\nmax_in_flight = 1\nmax_waiting = 1\nqueue_timeout = \"1ms\"";
    let server = gateway(&[&mock], rest);
    let hung = connect(server.addresses.api);
    send(&hung, &posted(CHAT, &whole().to_string()));
    wait("the only place is taken", || mock.counts().in_flight == 1);
    check(&server, &[[CHAT, "", "503"]]);
}
