//! What is kept has a bound, in bytes and in time.

use super::{certain, chat, from, keeping};
use crate::{
    gateway::support::{Mock, gateway},
    support::wait,
};

#[test]
fn memory_has_a_bound() {
    let mock = Mock::start(&["--tokens=200"]);
    let server = gateway(&[&mock], "[cache]\nanswers = \"64KiB\"");
    for number in 0..300 {
        assert_eq!(from(&chat(&server, &certain(&number.to_string()))), "miss");
    }
    let bytes = || server.metric(r#"thermograph_cache_bytes{kind="answer-1"}"#);
    wait("the bound is kept", || {
        chat(&server, &certain("one more"));
        (1..=64 << 10).contains(&bytes())
    });
}

#[test]
fn what_is_too_large_is_passed_on_and_not_kept() {
    let mock = Mock::start(&["--tokens=2000"]);
    let server = keeping(&[&mock], "largest = \"4KiB\"");
    for _ in 0..2 {
        assert_eq!(from(&chat(&server, &certain("a"))), "miss");
    }
    assert_eq!(mock.counts().requests_total, 2);
}

#[test]
fn what_is_old_is_not_given() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "ttl = \"1s\"");
    let ask = || from(&chat(&server, &certain("a"))).to_owned();
    assert_eq!(ask(), "miss");
    wait("it is too old", || ask() == "miss");
    assert_eq!(mock.counts().requests_total, 2);
}
