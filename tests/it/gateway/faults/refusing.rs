//! Upstreams that answer that they cannot, or are not there at all.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    gateway::support::{End, Load, Mock, ask, gateway, of_upstream, outcomes, whole},
    support::{Server, get, wait},
};

/// Once open, the breaker stays so.
const SHUT: &str = "[gateway]\nbreaker_open = \"1h\"";

#[test]
fn an_upstream_that_answers_500_costs_no_client_anything() {
    let (a, b) = (Mock::start(&["--error-rate=1"]), Mock::start(&[]));
    let server = gateway(&[&a, &b], SHUT);
    let load = Load::start(&server, 16);
    wait("it has failed and the other answers", || {
        // The balancer may leave it alone before it has failed so often that the breaker opens.
        outcomes(&server, "a", "server_error") > 0 && b.counts().answered > 500
    });
    let tally = load.stop();
    assert_eq!(tally.count(&End::Answered), tally.sent, "{tally:?}");
    assert_eq!(b.counts().answered, tally.sent);
    let counts = a.counts();
    assert_eq!(counts.failed, counts.requests_total);
    assert_eq!(outcomes(&server, "a", "server_error"), counts.failed);
    assert_eq!(server.metric("thermograph_gateway_retries_total"), counts.failed);
}

#[test]
fn where_all_answer_500_that_is_what_the_client_sees() {
    let mock = Mock::start(&["--error-rate=1"]);
    let server = gateway(&[&mock], SHUT);
    // Three attempts, and two more, with which the breaker opens.
    for attempts in [3, 5] {
        let reply = ask(&server, &whole());
        let error = reply.error();
        assert_eq!((reply.status, error["code"].as_str()), (500, Some("mock_error")));
        assert_eq!(error["message"], "refused, as the mock was told");
        assert_eq!(mock.counts().failed, attempts);
    }
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (503, Some("overloaded")));
    assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
    assert!(!reply.header("retry-after-ms").is_empty(), "{reply:?}");
    assert_eq!(mock.counts().requests_total, 5);
    assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 1);
}

#[test]
fn an_upstream_that_wants_to_be_left_alone_is() {
    let limited = ["--error-rate=1", "--error-status=429", "--retry-after=600"];
    let (a, b) = (Mock::start(&limited), Mock::start(&[]));
    let server = gateway(&[&a, &b], "");
    let asked = 60;
    for _ in 0..asked {
        assert_eq!(ask(&server, &whole()).end(), End::Answered);
    }
    assert_eq!((a.counts().requests_total, b.counts().answered), (1, asked));
    assert_eq!(outcomes(&server, "a", "rate_limited"), 1);
    assert_eq!(of_upstream(&server, "breaker_opened_total", "a"), 0);
}

#[test]
fn one_that_does_not_say_how_long_does_not_use_up_the_budget() {
    let limited = ["--error-rate=1", "--error-status=429"];
    let (a, b) = (Mock::start(&limited), Mock::start(&[]));
    let server = gateway(&[&a, &b], "[gateway]\nretry_reserve = 32\nretry_budget = 0");
    let load = Load::start(&server, 4);
    wait("there were many", || load.ended() > 1000);
    let tally = load.stop();
    assert_eq!(tally.count(&End::Answered), tally.sent, "{tally:?}");
    assert_eq!(a.counts().failed, server.metric("thermograph_gateway_retries_total"));
    assert_eq!(server.metric("thermograph_gateway_retries_refused_total"), 0);
}

#[test]
fn where_nobody_else_is_there_a_short_time_is_waited() {
    let mock = Mock::start(&["--error-rate=1", "--error-status=429", "--retry-after=1"]);
    let server = gateway(&[&mock], "");
    let began = Instant::now();
    let replies = std::thread::scope(|scope| {
        let asking = || scope.spawn(|| ask(&server, &whole()));
        let first = asking();
        wait("it has refused", || mock.counts().failed > 0);
        mock.change(&json!({ "error_rate": 0 }));
        // Those who come meanwhile wait too.
        let all = [first, asking(), asking(), asking()];
        all.map(|reply| reply.join().expect("no panic"))
    });
    assert!(replies.iter().all(|reply| reply.end() == End::Answered), "{replies:?}");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let counts = mock.counts();
    assert_eq!((counts.answered, counts.failed), (4, 1));
}

#[test]
fn a_long_time_is_told_to_the_client() {
    let mock = Mock::start(&["--error-rate=1", "--error-status=429", "--retry-after=30"]);
    let server = gateway(&[&mock], "");
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (429, Some("mock_error")));
    assert_eq!((reply.header("retry-after"), reply.header("retry-after-ms")), ("30", "30000"));
    // The next one comes back, and the upstream does not hear of it.
    let reply = ask(&server, &whole());
    assert_eq!(reply.end(), End::Refused(503), "{reply:?}");
    let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((1..=30).contains(&seconds), "{seconds}");
    assert_eq!(mock.counts().requests_total, 1);
}

#[test]
fn where_nobody_listens_the_others_answer() {
    let (mut a, b) = (Mock::start(&[]), Mock::start(&[]));
    a.kill();
    let server = gateway(&[&a, &b], "");
    let asked = 40;
    for _ in 0..asked {
        assert_eq!(ask(&server, &whole()).end(), End::Answered);
    }
    assert_eq!(b.counts().answered, asked);
    wait("that is seen", || of_upstream(&server, "healthy", "a") == 0);
}

#[test]
fn where_nobody_listens_at_all_it_is_a_502() {
    let mut mock = Mock::start(&[]);
    mock.kill();
    let server = gateway(&[&mock], "");
    let reply = ask(&server, &whole());
    assert_eq!((reply.status, reply.error()["code"].as_str()), (502, Some("connect")));
    assert_eq!(outcomes(&server, "a", "connect"), 3);
}

#[test]
fn upstream_that_is_not_there_is_reported_with_its_cause() {
    let toml = "[upstreams.a]\nurl = \"http://127.0.0.1:1\"\nhealth = { interval = \"10ms\" }\n";
    // With a model, the server would be ready.
    let server = Server::configured("127.0.0.1:0", toml, &[("MODEL_DIR", "/no/such/folder")]);
    wait("it is unwell", || server.log().contains("is unwell"));
    let reply = ask(&server, &whole());
    let message = reply.error()["message"].as_str().expect("text").to_owned();
    assert_eq!(reply.status, 503, "{message}");
    assert!(
        message.ends_with("has not listed its models (the upstream cannot be reached)"),
        "{message}"
    );
    let ready = get(&server.api("/health/ready"));
    assert!(ready.text.contains("(the upstream cannot be reached)"), "{}", ready.text);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("is unwell")).expect("a line");
    assert!(line.contains("\"error\":\"cannot connect: "), "{line}");
    assert!(line.contains("Connection refused"), "{line}");
    assert_eq!(log.matches("is unwell").count(), 1, "{log}");
}
