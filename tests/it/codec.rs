//! Clients that speak MessagePack and CBOR, with the packages that people use.

use crate::support::{MODEL, Server, get, mock::Mock, python, tool, wait};

/// The versions that the answers are checked with.
const PACKAGES: &[&str] = &["msgpack==1.2.4", "cbor2==6.3.0"];

#[test]
fn every_endpoint_says_the_same_in_every_codec() {
    let mock = Mock::start(&["--models=mock"]);
    let toml = format!(
        r#"
            # What fails on purpose is asked for once, and opens no breaker.
            [gateway]
            retries = 0
            breaker_requests = 1000000

            [upstreams.mock]
            url = "http://{}"

            [models.{MODEL}]
            dir = "models/{MODEL}"
            accept_token_ids = true
        "#,
        mock.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    wait("it knows what there is", || get(&server.api("/health/ready")).status == 200);
    let node = tool("node");
    let node = node.to_str().expect("a path");
    let arguments = [&server.api(""), MODEL, &mock.url(""), node];
    python::check(PACKAGES, "codec_client.py", &arguments);
}
