//! Places of the gateway, which keys share.

use std::{io::Write as _, net::TcpStream};

use serde_json::json;

use super::support::{Mock, Server, Store, ask};
use crate::{
    gateway::support::{CHAT, whole},
    support::{post, wait},
};

/// Clients that have asked and wait; dropped, they have left.
fn crowd(server: &Server, key: &str, count: usize) -> Vec<TcpStream> {
    let (body, key) = (whole().to_string(), if key.is_empty() { "none" } else { key });
    let length = body.len();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let client = || {
        let mut client = TcpStream::connect(server.addresses.api).expect("connected");
        client.write_all(request.as_bytes()).expect("sent");
        client
    };
    (0..count).map(|_| client()).collect()
}

fn refused(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("thermograph_gateway_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn key_with_many_requests_leaves_places_for_others() {
    const PARALLEL: usize = 80;
    let store = Store::sqlite();
    let (id, greedy) = store.create(&[]);
    let (_, other) = store.create(&[]);
    let cases = [
        // Three quarters by default.
        ("max_in_flight = 50", &*greedy, &*id, 37),
        ("max_in_flight = 50\nmax_in_flight_per_key = 2", &greedy, &id, 2),
        ("max_in_flight = 50", "", "callers without a key", 37),
    ];
    for (bounds, caller, named, most) in cases {
        let mock = Mock::start(&["--hang-rate=1"]);
        let rest = format!("[gateway]\n{bounds}\nqueue_timeout = \"50ms\"");
        let server = store.gateway(&mock, &rest);
        let _crowd = crowd(&server, caller, PARALLEL);
        let over = (PARALLEL - most) as u64;
        wait("the others are refused", || refused(&server, "caller") == over);
        assert_eq!(mock.counts().in_flight, most as u64, "{bounds}");

        let body = whole();
        let answer = match caller {
            "" => post(&server.api(CHAT), &body.to_string()),
            key => ask(&server, key, &body),
        };
        let error = answer.error();
        assert_eq!((answer.status, &error["type"]), (429, &json!("requests")), "{error}");
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert_eq!(answer.header("retry-after"), "1");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(named) && message.contains(&format!(" {most} ")), "{message}");

        mock.change(&json!({ "hang_rate": 0 }));
        assert_eq!(ask(&server, &other, &body).status, 200, "another key is answered");
        assert_eq!(mock.counts().in_flight, most as u64);
        assert_eq!(refused(&server, "full") + refused(&server, "late"), 0);
    }
}

#[test]
fn queue_of_one_key_is_not_that_of_another() {
    let (store, mock) = (Store::sqlite(), Mock::start(&["--hang-rate=1"]));
    let rest = "[gateway]\nmax_in_flight = 1\nmax_waiting = 8\nqueue_timeout = \"1h\"";
    let server = store.gateway(&mock, rest);
    let [(_, greedy), (_, other)] = [(); 2].map(|()| store.create(&[]));
    let first = crowd(&server, &greedy, 1);
    wait("it has the place", || mock.counts().in_flight == 1);
    let _rest = crowd(&server, &greedy, 8);
    wait("its others fill the queue", || server.metric("thermograph_gateway_waiting") == 8);
    mock.change(&json!({ "hang_rate": 0 }));
    let answered = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&server, &other, &whole()));
        // The newest of the full queue gives way to it.
        wait("it is queued", || refused(&server, "full") + refused(&server, "caller") == 1);
        drop(first);
        asking.join().expect("no panic")
    });
    assert_eq!(answered.status, 200);
}
