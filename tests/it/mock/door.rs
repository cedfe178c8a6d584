//! The mock's own door.

use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{agent, answer, get, mock::Mock, wait};

const CHAT: &str = "/v1/chat/completions";

fn behaviour(mock: &Mock) -> Value {
    get(&mock.url("/mock")).json()["behaviour"].take()
}

#[test]
fn flags_and_the_door_say_the_same() {
    let flags = [
        "--models=a,b/c",
        "--latency=lognormal:20ms:200ms",
        "--tokens=3",
        "--interval=exp:1ms",
        "--error-rate=0.25",
        "--error-status=503",
        "--retry-after=1",
        "--hang-rate=0.5",
        "--cut-rate=1",
        "--cut-after=2",
        "--stall-rate=0.125",
        "--stall-after=0",
        "--piece=9",
        "--piece-interval=1ms..2ms",
        "--max-in-flight=10",
        "--record",
    ];
    let told = Mock::start(&flags);
    let changed = Mock::start(&[]);
    let change = json!({
        "models": ["a", "b/c"], "latency": "lognormal:20ms:200ms", "tokens": 3,
        "interval": "exp:1ms", "error_rate": 0.25, "error_status": 503, "retry_after": 1,
        "hang_rate": 0.5, "cut_rate": 1.0, "cut_after": 2, "stall_rate": 0.125, "stall_after": 0,
        "piece": 9, "piece_interval": "1ms..2ms", "max_in_flight": 10, "record": true,
    });
    assert_eq!(behaviour(&told), change);
    assert_eq!(changed.change(&change), change);
    assert_eq!(behaviour(&changed), change);
    let less = changed.change(&json!({ "max_in_flight": null, "retry_after": null }));
    assert_eq!((&less["max_in_flight"], &less["tokens"]), (&Value::Null, &json!(3)));
}

#[test]
fn a_change_that_is_not_allowed_changes_nothing() {
    let mock = Mock::start(&[]);
    let before = behaviour(&mock);
    for (change, param, said) in [
        (
            json!({ "tokens": 5, "error_rate": 2 }),
            json!("error_rate"),
            "`2` is not allowed: a number from 0 to 1",
        ),
        (json!({ "latency": "soon" }), json!("latency"), "`soon` is not allowed: 20ms"),
        (json!({ "tokens": 5, "delay": 1 }), Value::Null, "unknown field `delay`, expected one of"),
        (json!([1]), Value::Null, "an object"),
    ] {
        let refused = mock.patch(&change);
        let error = refused.error();
        assert_eq!((refused.status, &error["param"]), (400, &param), "{error}");
        assert!(error["message"].as_str().expect("text").contains(said), "{error}");
    }
    let refused = answer(agent().patch(mock.url("/mock")).send("{").expect("an answer"));
    assert_eq!(
        (refused.status, refused.error()["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
    assert_eq!(behaviour(&mock), before);
}

#[test]
fn the_newest_request_is_shown_as_it_came() {
    let mock = Mock::start(&[]);
    let body = r#"{"messages": [], "model":"mock" , "more": {"ä": [1.50, "\u00e4"]}}"#;
    let send = |body: &str| {
        let request = agent().post(mock.url("/v1/chat/completions?a=b")).header("x-mine", "Yes");
        answer(request.send(body).expect("an answer")).status
    };
    assert_eq!(send(body), 200);
    assert_eq!(get(&mock.url("/mock/last")).status, 404);
    mock.change(&json!({ "record": true }));
    assert_eq!(send("{"), 400);
    assert_eq!(get(&mock.url("/mock/last")).json()["body"], "{");
    assert_eq!(send(body), 200);
    let last = get(&mock.url("/mock/last")).json();
    assert_eq!(last["body"], body);
    assert_eq!(last["method"], "POST");
    assert_eq!(last["uri"], "/v1/chat/completions?a=b");
    assert_eq!(last["version"], "HTTP/1.1");
    let headers = last["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!(["x-mine", "Yes"])), "{last}");
    assert!(headers.iter().all(|header| header[0] != "x-request-id"), "{last}");
}

#[test]
fn connections_are_counted_as_they_come_and_go() {
    let mock = Mock::start(&[]);
    let before = mock.counts().connections_total;
    let open: Vec<_> =
        (0..5).map(|_| TcpStream::connect(mock.address).expect("connected")).collect();
    // Each look is a connection too.
    wait("they are there", || mock.counts().connections >= 6);
    assert!(mock.counts().connections_total >= before + 5);
    drop(open);
    wait("they are gone", || mock.counts().connections == 1);
    assert_eq!(mock.counts().requests_total, 0, "the door's are not counted");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_request_is_counted() {
    use std::io::Write as _;

    let mock = Mock::start(&[]);
    let mut stream = TcpStream::connect(mock.address).expect("connected");
    let half = format!("POST {CHAT} HTTP/1.1\r\nhost: mock\r\ncontent-length: 100\r\n\r\n{{");
    stream.write_all(half.as_bytes()).expect("sent");
    wait("it has come", || mock.counts().in_flight == 1);
    drop(stream);
    wait("it has left", || mock.counts().in_flight == 0);
    assert_eq!((mock.counts().abandoned, mock.counts().failed), (1, 0));
}
