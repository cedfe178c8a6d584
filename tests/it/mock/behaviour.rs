//! Each way in which the mock behaves, by what comes and what is counted.

use std::io::ErrorKind;

use rustix::process::Signal;
use serde_json::{Value, json};
use thermograph_server::mock::Counts;

use crate::support::{
    agent,
    mock::{Exchange, Mock},
    wait,
};

const CHAT: &str = "/v1/chat/completions";

fn whole() -> Value {
    json!({ "model": "mock", "messages": [{ "role": "user", "content": "hello" }] })
}

fn stream() -> Value {
    let mut body = whole();
    body["stream"] = json!(true);
    body
}

/// Waits until the counters are so, and gives them.
fn until(mock: &Mock, what: &str, is_so: impl Fn(&Counts) -> bool) -> Counts {
    wait(what, || is_so(&mock.counts()));
    mock.counts()
}

/// The clients of these exchanges leave, which is counted, and nothing else is.
fn leave(mock: &Mock, exchanges: Vec<Exchange>) {
    let before = mock.counts();
    let left = exchanges.len() as u64;
    drop(exchanges);
    let counts = until(mock, "they have left", |counts| counts.in_flight == 0);
    assert_eq!(counts.abandoned - before.abandoned, left, "{counts:?}");
    assert_eq!(counts.answered, before.answered);
}

fn tokens(chunks: &[Vec<u8>]) -> usize {
    String::from_utf8(chunks.concat()).expect("UTF-8").matches(r#""delta":{"content""#).count()
}

#[test]
fn latency_comes_before_the_answer_and_leaving_is_noticed_there() {
    let mock = Mock::start(&["--latency=10m"]);
    let waiting = vec![mock.exchange(CHAT, &whole()), mock.exchange(CHAT, &stream())];
    let counts = until(&mock, "they wait", |counts| counts.in_flight == 2);
    assert_eq!((counts.hung, counts.answered), (0, 0));
    leave(&mock, waiting);
    assert_eq!(mock.change(&json!({ "latency": "0ms..1ms" }))["latency"], "0s..1ms");
    assert_eq!(mock.post(CHAT, &whole()).status, 200);
    assert_eq!(mock.counts().answered, 1);
}

#[test]
fn an_answer_has_as_many_tokens_as_it_is_told() {
    let mock = Mock::start(&["--tokens=1"]);
    for count in [1, 40, 5000] {
        mock.change(&json!({ "tokens": count }));
        let answer = mock.post(CHAT, &whole()).json();
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
        assert_eq!(text.split(' ').count(), count);
        assert_eq!(answer["usage"]["completion_tokens"], count);
        let mut streamed = mock.exchange(CHAT, &stream());
        streamed.head();
        let (chunks, ended) = streamed.chunks();
        assert!(ended);
        assert_eq!(tokens(&chunks), count);
        // Few writes where nothing is paced.
        assert!(chunks.len() <= 1 + chunks.concat().len() / 60_000, "{} writes", chunks.len());
    }
}

#[test]
fn paced_tokens_are_an_event_a_write() {
    let mock = Mock::start(&["--tokens=5", "--interval=1ms"]);
    let mut paced = mock.exchange(CHAT, &stream());
    assert!(paced.head().contains("\r\ntransfer-encoding: chunked\r\n"));
    let (chunks, ended) = paced.chunks();
    assert!(ended);
    // The role, the tokens, the reason and the end.
    assert_eq!(chunks.len(), 8);
    for chunk in &chunks {
        let event = std::str::from_utf8(chunk).expect("UTF-8");
        assert!(event.starts_with("data: ") && event.ends_with("\n\n"), "{event}");
        assert_eq!(event.matches("\n\n").count(), 1, "{event}");
    }
    assert_eq!(tokens(&chunks), 5);
}

#[test]
fn the_interval_is_between_tokens_and_leaving_there_is_noticed() {
    let mock = Mock::start(&["--interval=10m"]);
    let mut paced = mock.exchange(CHAT, &stream());
    paced.head();
    assert!(paced.chunk().is_some_and(|role| String::from_utf8_lossy(&role).contains("role")));
    assert!(paced.chunk().is_some_and(|token| String::from_utf8_lossy(&token).contains("Wärme")));
    assert_eq!(mock.counts().in_flight, 1);
    leave(&mock, vec![paced]);
}

#[test]
fn refusals_have_the_status_and_say_when_to_try_again() {
    let mock = Mock::start(&["--error-rate=1", "--error-status=429", "--retry-after=7"]);
    let refused = mock.post(CHAT, &stream());
    assert_eq!(refused.status, 429);
    assert_eq!((refused.header("retry-after"), refused.header("retry-after-ms")), ("7", "7000"));
    assert_eq!(refused.error()["type"], "rate_limit_error");
    mock.change(&json!({ "error_status": 500, "retry_after": null }));
    let refused = mock.post(CHAT, &whole());
    assert_eq!((refused.status, refused.header("retry-after")), (500, ""));
    assert_eq!(refused.error()["type"], "server_error");
    assert_eq!(mock.counts().failed, 2);
}

#[test]
fn a_rate_is_a_share_of_all_requests() {
    let mock = Mock::start(&["--error-rate=0.5"]);
    let statuses: Vec<_> = (0..400).map(|_| mock.post(CHAT, &whole()).status).collect();
    let failed = statuses.iter().filter(|status| **status == 500).count();
    let counts = mock.counts();
    assert_eq!((counts.failed, counts.answered), (failed as u64, 400 - failed as u64));
    // Ten standard deviations.
    assert!((100..300).contains(&failed), "{failed}");
}

#[test]
fn who_hangs_is_never_answered_on_a_connection_that_stays_open() {
    let mut mock = Mock::start(&["--hang-rate=1"]);
    let left = vec![mock.exchange(CHAT, &whole()), mock.exchange(CHAT, &stream())];
    until(&mock, "they hang", |counts| counts.hung == 2);
    leave(&mock, left);
    // Only the signal to stop ends it.
    let mut hung = mock.exchange(CHAT, &whole());
    until(&mock, "it hangs", |counts| counts.hung == 3);
    mock.signal(Signal::TERM);
    assert!(hung.head().starts_with("http/1.1 503"));
    assert!(mock.ended().success());
}

#[test]
fn a_cut_stream_has_its_tokens_and_no_end() {
    let mock = Mock::start(&["--cut-rate=1", "--cut-after=3"]);
    for (change, before) in [
        (json!({}), 3),
        (json!({ "cut_after": 0 }), 0),
        (json!({ "cut_after": 3, "interval": "1ms" }), 3),
        (json!({ "cut_after": 99 }), 16),
    ] {
        mock.change(&change);
        let mut cut = mock.exchange(CHAT, &stream());
        cut.head();
        let (chunks, ended) = cut.chunks();
        assert!(!ended, "{change}");
        assert_eq!(tokens(&chunks), before, "{change}");
        assert!(!chunks.concat().ends_with(b"[DONE]\n\n"));
    }
    // Nothing comes before its first token; the head comes in any case.
    mock.change(&json!({ "cut_after": 0 }));
    let body = json!({ "model": "mock", "prompt": "hello", "stream": true });
    let mut cut = mock.exchange("/v1/completions", &body);
    assert!(cut.head().starts_with("http/1.1 200"));
    assert_eq!(cut.chunks(), (Vec::new(), false));
    assert_eq!(mock.counts().cut, 5);
}

#[test]
fn a_cut_answer_ends_in_mid_body_which_is_an_error_of_the_connection() {
    let mock = Mock::start(&["--cut-rate=1"]);
    let mut cut = mock.exchange(CHAT, &whole());
    let head = cut.head();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length: usize = length.expect("a length").parse().expect("a number");
    assert_eq!(cut.rest().len(), length / 2);
    for body in [whole(), stream()] {
        let mut response = agent().post(mock.url(CHAT)).send(&body.to_string()).expect("a head");
        assert_eq!(response.status(), 200);
        let error = response.body_mut().read_to_string().expect_err("cut");
        let io = matches!(&error, ureq::Error::Io(io) if io.kind() == ErrorKind::UnexpectedEof);
        assert!(io, "{error:?}");
    }
    assert_eq!(mock.counts().cut, 3);
}

#[test]
fn a_stalled_stream_goes_silent_after_its_tokens() {
    let mut mock = Mock::start(&["--stall-rate=1", "--stall-after=2"]);
    let mut left = [mock.exchange(CHAT, &stream()), mock.exchange(CHAT, &whole())];
    until(&mock, "they are silent", |counts| counts.stalled == 2);
    let heads = left.each_mut().map(Exchange::head);
    assert!(heads.iter().all(|head| head.starts_with("http/1.1 200")), "{heads:?}");
    leave(&mock, left.into());
    // Nothing comes after the tokens but the signal to stop.
    let mut stalled = mock.exchange(CHAT, &stream());
    until(&mock, "it is silent", |counts| counts.stalled == 3);
    mock.signal(Signal::TERM);
    stalled.head();
    let (chunks, ended) = stalled.chunks();
    assert_eq!((tokens(&chunks), ended), (2, false));
    assert!(mock.ended().success());
}

#[test]
fn pieces_split_letters_and_nothing_is_lost() {
    let mock = Mock::start(&["--piece=1"]);
    let mut small = mock.exchange(CHAT, &stream());
    small.head();
    let (chunks, ended) = small.chunks();
    assert!(ended && chunks.iter().all(|chunk| chunk.len() == 1));
    assert_eq!(tokens(&chunks), 16);
    let text = String::from_utf8(chunks.concat()).expect("UTF-8");
    assert!(text.contains(" 👩‍🚀") && text.ends_with("data: [DONE]\n\n"), "{text}");
    for change in [json!({ "piece": 7 }), json!({ "piece_interval": "1ms", "interval": "1ms" })] {
        mock.change(&change);
        let mut sized = mock.exchange(CHAT, &stream());
        sized.head();
        let (chunks, ended) = sized.chunks();
        assert!(ended && chunks.iter().all(|chunk| chunk.len() <= 7), "{change}");
        assert_eq!(chunks.concat().len(), text.len(), "{change}");
    }
    let answer = mock.post(CHAT, &whole()).json();
    let content = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(content.contains(" 温度"), "{content}");
}

#[test]
fn the_interval_of_pieces_is_between_them() {
    let mock = Mock::start(&["--piece=10", "--piece-interval=10m"]);
    let mut slow = mock.exchange(CHAT, &stream());
    slow.head();
    assert_eq!(slow.chunk().as_deref(), Some(&b"data: {\"id"[..]));
    assert_eq!(mock.counts().in_flight, 1);
    leave(&mock, vec![slow]);
}

#[test]
fn past_its_capacity_the_mock_lets_wait() {
    let mock = Mock::start(&["--max-in-flight=2", "--hang-rate=1"]);
    let come = |count| -> Vec<_> { (0..count).map(|_| mock.exchange(CHAT, &whole())).collect() };
    let first = come(2);
    until(&mock, "two hang", |counts| counts.hung == 2);
    let others = come(3);
    let counts = until(&mock, "all have come", |counts| counts.requests_total == 5);
    assert_eq!((counts.in_flight, counts.hung), (5, 2));
    // As many follow as places come free.
    drop(first);
    let counts = until(&mock, "the next hang", |counts| counts.hung == 4);
    assert_eq!((counts.in_flight, counts.abandoned), (3, 2));
    leave(&mock, others);
}

#[test]
fn a_stop_lets_streams_finish() {
    let mut mock = Mock::start(&["--tokens=50", "--interval=5ms"]);
    let mut paced = mock.exchange(CHAT, &stream());
    paced.head();
    paced.chunk();
    mock.signal(Signal::INT);
    let (chunks, ended) = paced.chunks();
    assert!(ended);
    assert_eq!(tokens(&chunks), 50);
    assert!(mock.ended().success());
    let log = mock.log();
    assert!(log.contains("SIGINT") && log.contains("drained"), "{log}");
}
