//! A gateway that is stopped while answers are on their way.

use rustix::process::Signal;
use serde_json::Value;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    gateway::support::{CHAT, Client, End, Mock, Reply, crowd, gateway, stream, whole},
    support::{Server, get, wait},
};

/// Clients that ask once each, streams and others.
struct Clients {
    replies: JoinSet<Reply>,
    runtime: Runtime,
}

impl Clients {
    fn new() -> Self {
        Self { replies: JoinSet::new(), runtime: crowd() }
    }

    fn add(&mut self, server: &Server, body: Value) {
        let mut client = Client::new(server.addresses.api);
        let reply = async move { client.post(CHAT, &body).await };
        self.replies.spawn_on(reply, self.runtime.handle());
    }

    /// What they have got, when the last one has.
    fn replies(self) -> Vec<Reply> {
        self.runtime.block_on(self.replies.join_all())
    }
}

#[test]
fn what_is_on_its_way_is_answered_whole_and_new_clients_are_sent_elsewhere() {
    // All answers take longer than the grace.
    let mock = Mock::start(&["--latency=4s", "--tokens=101", "--interval=20ms"]);
    let mut server = gateway(&[&mock], "[api]\nshutdown_grace = \"3s\"");
    let mut clients = Clients::new();
    for _ in 0..10 {
        clients.add(&server, stream());
        clients.add(&server, whole());
    }
    wait("all are asked for upstream", || mock.counts().in_flight == 20);
    server.signal(Signal::TERM);
    wait("it is not ready", || get(&server.api("/health/ready")).status == 503);
    assert_eq!(get(&server.api("/health/live")).status, 200);
    // Somebody whose balancer does not know yet.
    clients.add(&server, stream());
    clients.add(&server, whole());
    let replies = clients.replies();
    assert_eq!(replies.len(), 22);
    for reply in replies {
        assert_eq!(reply.end(), End::Answered);
    }
    assert!(server.ended().success());
    assert!(server.log().contains("drained"), "{}", server.log());
    let counts = mock.counts();
    assert_eq!((counts.answered, counts.in_flight, counts.abandoned), (22, 0, 0));
}

#[test]
fn past_drain_timeout_answers_are_cut() {
    let mock = Mock::start(&["--tokens=100000", "--interval=20ms"]);
    let silent = Mock::start(&["--hang-rate=1"]);
    for mock in [&mock, &silent] {
        let rest = "[api]\nshutdown_grace = \"10ms\"\ndrain_timeout = \"200ms\"";
        let mut server = gateway(&[mock], rest);
        let mut clients = Clients::new();
        for _ in 0..5 {
            clients.add(&server, stream());
        }
        wait("all are asked for upstream", || mock.counts().in_flight == 5);
        server.signal(Signal::TERM);
        assert!(server.ended().success());
        assert!(server.log().contains("cut off"), "{}", server.log());
        // Nobody takes what there is for a whole answer.
        for reply in clients.replies() {
            assert!(reply.broken.is_some(), "{reply:?}");
        }
        wait("nothing is asked for upstream", || mock.counts().in_flight == 0);
        assert_eq!(mock.counts().abandoned, 5);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mock = Mock::start(&["--tokens=100000", "--interval=20ms"]);
    let rest = "[api]\nshutdown_grace = \"10ms\"\ndrain_timeout = \"1h\"";
    let mut server = gateway(&[&mock], rest);
    let mut clients = Clients::new();
    clients.add(&server, stream());
    wait("it is asked for upstream", || mock.counts().in_flight == 1);
    server.signal(Signal::TERM);
    wait("it drains", || server.log().contains("draining"));
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(130));
    for reply in clients.replies() {
        assert!(reply.broken.is_some(), "{reply:?}");
    }
    wait("nothing is asked for upstream", || mock.counts().in_flight == 0);
}
