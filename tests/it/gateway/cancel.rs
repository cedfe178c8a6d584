//! Clients that leave: what was asked for them is not asked for any more.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use http_body_util::BodyExt as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    gateway::support::{CHAT, Client, Mock, Setup, crowd, stream, whole},
    support::{Server, post, wait},
};

/// Clients that wait for the rest of an answer, until they leave all at once.
struct Crowd {
    clients: JoinSet<()>,
    runtime: Runtime,
    /// Answers that have begun.
    begun: Arc<AtomicU64>,
}

impl Crowd {
    fn ask(server: &Server, clients: u64, body: &Value) -> Self {
        let runtime = crowd();
        let begun = Arc::default();
        let asking = |_| ask(server.addresses.api, body.clone(), Arc::clone(&begun));
        let clients = {
            let _entered = runtime.enter();
            (0..clients).map(asking).collect()
        };
        Self { clients, runtime, begun }
    }

    /// Closes all connections, from one moment to the next.
    fn leave(self) {
        drop(self.clients);
        drop(self.runtime);
    }
}

async fn ask(address: SocketAddr, body: Value, begun: Arc<AtomicU64>) {
    let mut client = Client::new(address);
    let mut answer = client.begin(CHAT, &body).await.expect("an answer");
    assert!(answer.body_mut().frame().await.is_some());
    begun.fetch_add(1, Relaxed);
    std::future::pending::<()>().await;
}

/// Lets so many clients come, the answers of `begun` of them begin, and all leave.
fn come_and_leave(mocks: [&Mock; 2], body: &Value, clients: u64, begun: u64) {
    let each = format!("max_connections = {clients}");
    let server = Setup { each: &each, ..Setup::of(&mocks) }.start();
    let sum = |count: fn(&Mock) -> u64| mocks.into_iter().map(count).sum::<u64>();
    let in_flight = || sum(|mock| mock.counts().in_flight);

    let crowd = Crowd::ask(&server, clients, body);
    wait("all are there", || crowd.begun.load(Relaxed) == begun && in_flight() == clients);
    assert_eq!(server.metric("thermograph_gateway_in_flight"), clients);
    let left = Instant::now();
    crowd.leave();
    wait("nothing is on its way upstream", || in_flight() == 0);
    eprintln!("{clients} clients have left: seen upstream within {:?}", left.elapsed());

    // Each was asked for once, and by nobody else when its client had left.
    assert_eq!(sum(|mock| mock.counts().requests_total), clients);
    assert_eq!(sum(|mock| mock.counts().abandoned), clients);
    for gauge in ["thermograph_gateway_in_flight", "thermograph_upstream_in_flight"] {
        wait(gauge, || server.metric(gauge) == 0);
    }
    // Nobody thinks worse of the upstreams for it.
    for mock in mocks {
        mock.change(&json!({ "hang_rate": 0, "stall_rate": 0, "interval": "0ms" }));
    }
    let answer = post(&server.api(CHAT), &whole().to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(server.metric("thermograph_gateway_retries_total"), 0);
    assert_eq!(server.metric("thermograph_upstream_breaker_opened_total"), 0);
}

#[test]
fn a_thousand_clients_that_leave_before_the_first_byte_leave_nothing_behind() {
    open_as_many_files_as_may_be();
    let (a, b) = (Mock::start(&["--hang-rate=1"]), Mock::start(&["--hang-rate=1"]));
    come_and_leave([&a, &b], &whole(), 1000, 0);
}

#[test]
fn clients_that_leave_in_the_middle_of_a_stream_leave_nothing_behind() {
    let paced = ["--tokens=100000", "--interval=100ms"];
    // Nothing is written to the clients, which could fail.
    let silent = ["--stall-rate=1", "--stall-after=2"];
    for flags in [paced, silent] {
        let (a, b) = (Mock::start(&flags), Mock::start(&flags));
        come_and_leave([&a, &b], &stream(), 200, 200);
    }
}

/// Of the connections, each has two ends in the gateway, and one here.
fn open_as_many_files_as_may_be() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("less than the most is allowed");
}
