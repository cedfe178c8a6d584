//! Questions that mean the same, if that is wanted.

use super::{certain, chat, from, keeping};
use crate::gateway::support::{End, Mock};

#[test]
fn who_means_the_same_gets_the_same() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "semantic_threshold = 0.9");
    let first = chat(&server, &certain("How do I learn to play the piano in 30 days?"));
    assert_eq!((from(&first), first.end()), ("miss", End::Answered));
    let alike = chat(&server, &certain("How can I learn playing the piano in 30 days?"));
    assert_eq!((from(&alike), &alike.body), ("semantic", &first.body));
    let similarity: f64 = alike.header("x-thermograph-similarity").parse().expect("a number");
    assert!((0.9..1.0).contains(&similarity), "{similarity}");
    alike.header("age").parse::<u64>().expect("seconds");
    // Other numbers, another topic, and another form of the answer.
    for other in ["How do I learn to play the piano in 31 days?", "What do foxes eat in 30 days?"] {
        assert_eq!(from(&chat(&server, &certain(other))), "miss", "{other}");
    }
    let streamed = super::certain_stream("How do I learn to play the piano in 30 days?");
    assert_eq!(from(&chat(&server, &streamed)), "miss");
    assert_eq!(mock.counts().requests_total, 4);
    // Equal ones are hits as ever.
    let again = chat(&server, &certain("How do I learn to play the piano in 30 days?"));
    assert_eq!(from(&again), "hit");
}

#[test]
fn unless_it_is_configured_only_equal_ones_do() {
    let mock = Mock::start(&[]);
    let server = keeping(&[&mock], "");
    for text in ["How do I learn to play the piano?", "How can I learn to play the piano?"] {
        assert_eq!(from(&chat(&server, &certain(text))), "miss");
    }
}
