//! Connections that are kept, and those that the upstream has not kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
    time,
};

use crate::{
    gateway::support::{CHAT, Client, End, Load, Mock, Setup, of_upstream, whole},
    support::{get, wait},
};

/// How long the upstream keeps a connection that nobody uses.
const KEPT: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_upstream_has_closed_costs_no_client_anything() {
    let answered = Arc::new(AtomicU64::new(0));
    let upstream = impatient(Arc::clone(&answered)).await;
    let setup = Setup { upstreams: vec![upstream], each: "", model: "", rest: "" };
    let server = tokio::task::spawn_blocking(move || setup.start()).await.expect("started");
    let mut client = Client::new(server.addresses.api);
    let asked = 150_u32;
    for turn in 0..asked {
        assert_eq!(client.post(CHAT, &whole()).await.end(), End::Answered);
        // Around the moment in which it is closed.
        time::sleep(KEPT.mul_f64(0.8 + 0.01 * f64::from(turn % 40))).await;
    }
    assert_eq!(answered.load(Relaxed), u64::from(asked));
    let check = move || {
        assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 0);
        assert!(of_upstream(&server, "connections_opened_total", "a") > 1);
    };
    tokio::task::spawn_blocking(check).await.expect("no panic");
}

/// An upstream that closes connections early; counts the chats that it answers.
async fn impatient(answered: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answered)));
        }
    });
    address
}

async fn serve(stream: TcpStream, answered: Arc<AtomicU64>) {
    let mut stream = BufStream::new(stream);
    let body = json!({ "choices": [] }).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    while let Ok(Some(is_chat)) = time::timeout(KEPT, read(&mut stream)).await {
        answered.fetch_add(u64::from(is_chat), Relaxed);
        stream.write_all(answer.as_bytes()).await.expect("written");
        stream.flush().await.expect("written");
    }
}

/// Reads a request; whether it is a chat. None: the other side has closed.
async fn read(stream: &mut BufStream<TcpStream>) -> Option<bool> {
    let mut first = String::new();
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(first.starts_with("POST "))
}

#[test]
fn who_is_busy_can_still_be_asked_whether_it_is_well() {
    let mock = Mock::start(&["--latency=10m"]);
    let each = "max_connections = 1\nhealth = { interval = \"20ms\" }\nconnect_timeout = \"50ms\"";
    let server = Setup { each, ..Setup::of(&[&mock]) }.start();
    let load = Load::start(&server, 1);
    wait("its connection is busy", || mock.counts().in_flight == 1);
    mock.change(&json!({ "models": ["mock", "other"], "latency": "0ms" }));
    wait("it is seen that it has another model", || {
        get(&server.api("/v1/models")).text.contains("other")
    });
    assert_eq!(of_upstream(&server, "healthy", "a"), 1);
    // Its own bound says nothing of the upstream.
    for _ in 0..6 {
        let reply = crate::gateway::support::ask(&server, &whole());
        assert_eq!((reply.status, reply.error()["code"].as_str()), (503, Some("overloaded")));
    }
    assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 0);
    drop(load);
}
