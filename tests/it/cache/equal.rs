//! Equal questions at once are asked once.

use serde_json::json;
use tokio::task::JoinSet;

use super::{certain, certain_stream, keeping};
use crate::{
    gateway::support::{CHAT, Client, End, Mock, Reply, crowd},
    support::{Server, wait},
};

/// Asks the same so many times at once.
fn all_at_once(server: &Server, body: &serde_json::Value, times: usize) -> Vec<Reply> {
    let address = server.addresses.api;
    crowd().block_on(async {
        let ask = |_| {
            let body = body.clone();
            async move { Client::new(address).post(CHAT, &body).await }
        };
        (0..times).map(ask).collect::<JoinSet<_>>().join_all().await
    })
}

#[test]
fn whoever_asks_the_same_gets_the_same() {
    let mock = Mock::start(&["--latency=300ms"]);
    let server = keeping(&[&mock], "");
    for body in [certain("a"), certain_stream("a")] {
        let before = mock.counts().requests_total;
        let replies = all_at_once(&server, &body, 50);
        assert!(replies.iter().all(|reply| reply.end() == End::Answered), "{replies:?}");
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
        assert_eq!(mock.counts().requests_total, before + 1);
    }
}

#[test]
fn a_refusal_is_told_to_all_and_not_kept() {
    let flags = ["--latency=300ms", "--error-rate=1", "--error-status=429", "--retry-after=1"];
    let mock = Mock::start(&flags);
    let server = keeping(&[&mock], "[gateway]\nretries = 0");
    let replies = all_at_once(&server, &certain("a"), 50);
    for reply in &replies {
        assert_eq!((reply.end(), reply.header("retry-after")), (End::Refused(429), "1"));
    }
    assert_eq!(mock.counts().requests_total, 1);
    mock.change(&json!({ "error_rate": 0 }));
    assert_eq!(all_at_once(&server, &certain("a"), 1)[0].end(), End::Answered);
}

#[test]
fn who_leaves_is_not_waited_for() {
    let mock = Mock::start(&["--latency=10m"]);
    let server = keeping(&[&mock], "");
    let address = server.addresses.api;
    let body = certain("a");
    crowd().block_on(async {
        let ask =
            |body: serde_json::Value| async move { Client::new(address).post(CHAT, &body).await };
        let first = tokio::spawn(ask(body.clone()));
        wait_for(|| mock.counts().in_flight == 1);
        let others: JoinSet<_> = (0..10).map(|_| ask(body.clone())).collect();
        wait_for(|| server.metric("thermograph_gateway_in_flight") == 11);
        mock.change(&json!({ "latency": "0s" }));
        first.abort();
        let replies = others.join_all().await;
        assert!(replies.iter().all(|reply| reply.end() == End::Answered), "{replies:?}");
    });
    // The one that was left, and the one that another asked.
    assert_eq!(mock.counts().requests_total, 2);
}

#[test]
fn nobody_waits_longer_than_may_be() {
    let mock = Mock::start(&["--latency=10m"]);
    let server = keeping(&[&mock], "longest_wait = \"100ms\"");
    let address = server.addresses.api;
    let body = certain("a");
    crowd().block_on(async {
        let first = tokio::spawn({
            let body = body.clone();
            async move { Client::new(address).post(CHAT, &body).await }
        });
        wait_for(|| mock.counts().in_flight == 1);
        mock.change(&json!({ "latency": "0s" }));
        let second = Client::new(address).post(CHAT, &body).await;
        assert_eq!((second.end(), second.header("x-cache")), (End::Answered, "miss"));
        first.abort();
    });
}

/// Lets others have the thread meanwhile.
fn wait_for(is_so: impl FnMut() -> bool) {
    tokio::task::block_in_place(|| wait("it is so", is_so));
}
