//! The middleware, switched on and off.

use std::io::Read as _;

use flate2::read::GzDecoder;
use http::Request;
use serde_json::{Value, json};

use crate::{
    gateway::support::{CHAT, Client, Mock, Reply, Setup, gateway, stream, whole},
    support::Server,
};

/// Asks and says what may be compressed how.
fn accepting(server: &Server, encoding: &str, body: &Value) -> Reply {
    let request = Request::post(CHAT)
        .header("host", "gateway")
        .header("content-type", "application/json")
        .header("accept-encoding", encoding)
        .body(body.to_string().into())
        .expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        Reply::read(Client::new(server.addresses.api).send(request).await).await
    })
}

#[test]
fn answers_are_compressed_where_that_is_wanted() {
    let mock = Mock::start(&["--tokens=3000"]);
    let rest =
        "[middleware]\ncompression = [\"zstd\", \"br\", \"gzip\"]\n[cache]\nanswers = \"1MiB\"";
    let server = gateway(&[&mock], rest);
    // Kept, so that all are given the same.
    let mut body = whole();
    body["temperature"] = json!(0);
    let plain = accepting(&server, "identity", &body);
    assert_eq!(plain.header("content-encoding"), "");
    for encoding in ["gzip", "br", "zstd"] {
        let small = accepting(&server, encoding, &body);
        assert_eq!((small.status, small.header("content-encoding")), (200, encoding));
        let vary: Vec<_> = small.headers.get_all("vary").iter().collect();
        assert!(
            ["accept", "accept-encoding"].iter().all(|name| vary.iter().any(|value| value == name)),
            "{small:?}"
        );
        assert!(small.body.len() < plain.body.len() / 2, "{} bytes", small.body.len());
        if encoding == "gzip" {
            let mut text = Vec::new();
            GzDecoder::new(&*small.body).read_to_end(&mut text).expect("gzip");
            assert_eq!(text, plain.body);
        }
    }
    let streamed = accepting(&server, "gzip", &stream());
    assert_eq!((streamed.status, streamed.header("content-encoding")), (200, ""));
    mock.change(&json!({ "tokens": 5 }));
    let short = accepting(&server, "gzip", &whole());
    assert_eq!((short.status, short.header("content-encoding")), (200, ""));
}

#[test]
fn a_large_answer_is_compressed_in_turn_with_others() {
    let mock = Mock::start(&["--tokens=100000"]);
    let server = gateway(&[&mock], "[middleware]\ncompression = [\"br\"]");
    let small = accepting(&server, "br", &whole());
    assert_eq!((small.status, small.header("content-encoding")), (200, "br"));
    // That no worker was kept is checked when the server ends.
}

#[test]
fn each_layer_can_be_off() {
    let mock = Mock::start(&[]);
    let rest =
        "[middleware]\nrequest_ids = false\nwatch = false\ncodecs = false\ncatch_panics = false";
    let server = Setup { rest, ..Setup::of(&[&mock]) }.start();
    let reply = accepting(&server, "gzip", &whole());
    assert_eq!((reply.status, reply.header("x-request-id")), (200, ""));
    assert!(reply.json()["choices"].is_array());
    let handlers = crate::support::get(&server.diagnostics("/debug/handlers")).text;
    assert!(!handlers.contains(CHAT), "{handlers}");
}
