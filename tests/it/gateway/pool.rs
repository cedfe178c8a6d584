//! Connections to upstreams: used again, bounded, and closed where nobody uses them.

use std::{fs, net::TcpStream};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::task::JoinSet;

use super::support::{CHAT, Client, End, Mock, Setup, stream, whole};
use crate::support::{Server, get, wait};

/// A gateway before one mock, after its only check of that.
fn start(mock: &Mock, keys: &str) -> Server {
    // Checks have connections of their own.
    let each = format!("health.interval = \"1h\"\n{keys}");
    let server = Setup { each: &each, ..Setup::of(&[mock]) }.start();
    wait("the mock was checked", || get(&server.api("/health/ready")).status == 200);
    server
}

fn opened(server: &Server) -> u64 {
    server.metric("thermograph_upstream_connections_opened_total")
}

/// Many clients that ask at once, one request each; all are answered.
async fn ask_at_once(server: &Server, clients: usize) {
    let address = server.addresses.api;
    let ask = |_| async move { Client::new(address).post(CHAT, &whole()).await.end() };
    let ends = (0..clients).map(ask).collect::<JoinSet<_>>().join_all().await;
    assert!(ends.iter().all(|end| *end == End::Answered), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_one_after_another_use_the_same_connection() {
    let mock = Mock::start(&[]);
    let server = start(&mock, "idle_timeout = \"1m\"");
    let before = mock.counts().connections_total;
    let mut client = Client::new(server.addresses.api);
    for place in 0..200 {
        let body = if place % 2 == 0 { whole() } else { stream() };
        assert_eq!(client.post(CHAT, &body).await.end(), End::Answered);
    }
    let counts = mock.counts();
    assert_eq!(counts.requests_total, 200);
    assert_eq!(counts.connections_total - before, 1 + 1, "one, and that which asks here");
    assert_eq!(opened(&server), 1);
    let reused = server.metric("thermograph_upstream_connections_reused_total");
    assert_eq!(reused, 200 - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_connections_than_may_be() {
    let mock = Mock::start(&["--latency=20ms"]);
    let server = start(&mock, "idle_timeout = \"1m\"\nmax_connections = 4");
    let before = mock.counts().connections_total;
    ask_at_once(&server, 64).await;
    let counts = mock.counts();
    assert_eq!(counts.answered, 64);
    assert_eq!(opened(&server), 4, "as many as may be");
    assert_eq!(counts.connections_total - before, 4 + 1, "and that which asks here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_uses_is_closed() {
    let mock = Mock::start(&["--latency=20ms"]);
    let server = start(&mock, "idle_timeout = \"300ms\"");
    ask_at_once(&server, 8).await;
    let open = || server.metric("thermograph_upstream_connections{upstream=\"a\"}");
    wait("all are closed", || open() == 0);
    wait("the mock sees it", || mock.counts().connections == 1);
    ask_at_once(&server, 1).await;
    assert!(opened(&server) >= 2, "a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_no_connection_in_time_is_told_so() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let server = start(&mock, "max_connections = 2\nconnect_timeout = \"200ms\"");
    let address = server.addresses.api;
    let hung: JoinSet<_> =
        (0..2).map(|_| async move { Client::new(address).post(CHAT, &whole()).await }).collect();
    wait("both hang", || mock.counts().in_flight == 2);
    let refused = Client::new(address).post(CHAT, &whole()).await;
    assert_eq!(refused.end(), End::Refused(503), "{refused:?}");
    let message = refused.error()["message"].to_string();
    assert!(message.contains("no connection free in time"), "{message}");
    let outcome = "{upstream=\"a\",outcome=\"full\"}";
    assert!(server.metric(&format!("thermograph_upstream_requests_total{outcome}")) > 0);
    assert_eq!(mock.counts().in_flight, 2, "nothing more was sent");
    drop(hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_side_waits_to_send_little() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let server = start(&mock, "");
    let address = server.addresses.api;
    let hung = tokio::spawn(async move { Client::new(address).post(CHAT, &whole()).await });
    wait("it hangs", || mock.counts().in_flight == 1);
    let (mut clients, mut upstreams) = (0, 0);
    for stream in connections_of(&server) {
        let Ok(peer) = stream.peer_addr() else { continue };
        let is_client = stream.local_addr().expect("an address") == address;
        if is_client || peer == mock.address {
            assert!(stream.nodelay().expect("known"), "TCP_NODELAY is not set: {stream:?}");
            *(if is_client { &mut clients } else { &mut upstreams }) += 1;
        }
    }
    assert!(clients > 0 && upstreams > 0, "{clients} clients, {upstreams} upstreams");
    hung.abort();
}

/// The sockets of a server, taken out of its process.
fn connections_of(server: &Server) -> Vec<TcpStream> {
    let pid = server.pid();
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a process");
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("its files");
    let sockets = files.filter_map(|file| {
        let file = file.expect("a file");
        // It may have been closed meanwhile.
        let target = fs::read_link(file.path()).ok()?;
        let number = file.file_name().to_str()?.parse().ok()?;
        let is_socket = target.to_string_lossy().starts_with("socket:");
        is_socket.then(|| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok())?
    });
    sockets.map(TcpStream::from).collect()
}
