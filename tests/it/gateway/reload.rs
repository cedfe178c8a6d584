//! The configuration is loaded again while requests are on their way.

use std::fs;

use http_body_util::BodyExt as _;
use rustix::process::Signal;

use super::support::{CHAT, Client, End, Load, Mock, Reply, stream, whole};
use crate::support::{Server, post, wait};

/// The model `mock`, at an upstream of this name.
fn at(name: &str, mock: &Mock) -> String {
    let url = mock.url("");
    format!("[upstreams.{name}]\nurl = \"{url}\"\n[models.mock]\nupstreams = [\"{name}\"]\n")
}

fn start(toml: &str) -> Server {
    Server::configured("127.0.0.1:0", toml, &[])
}

/// Clients of a load.
const CLIENTS: usize = 32;

/// How a file is changed.
type Change = fn(&Server, &str);

/// As editors and deployments do it: the new file takes the place of the old one.
fn replace(server: &Server, toml: &str) {
    let new = server.config().with_extension("new");
    fs::write(&new, toml).expect("written");
    fs::rename(new, server.config()).expect("renamed");
}

/// In place.
fn rewrite(server: &Server, toml: &str) {
    fs::write(server.config(), toml).expect("written");
}

fn rewrite_and_signal(server: &Server, toml: &str) {
    rewrite(server, toml);
    server.signal(Signal::HUP);
}

fn reloads(server: &Server, result: &str) -> u64 {
    server.metric(&format!("thermograph_config_reloads_total{{result=\"{result}\"}}"))
}

fn in_flight(server: &Server, upstream: &str) -> u64 {
    server.metric(&format!("thermograph_upstream_in_flight{{upstream=\"{upstream}\"}}"))
}

#[test]
fn a_reload_under_load_loses_no_request_and_moves_them_all() {
    let (a, b) = (Mock::start(&[]), Mock::start(&[]));
    let server = start(&at("a", &a));
    let load = Load::start(&server, CLIENTS);
    wait("there is a load", || load.ended() > 100);
    let changes: [Change; 3] = [replace, rewrite, rewrite_and_signal];
    let mut pair = [("a", &a), ("b", &b)];
    for (place, change) in (1..).zip(changes) {
        let [(old, before), (new, after)] = pair;
        pair.reverse();
        change(&server, &at(new, after));
        wait("it is taken over", || reloads(&server, "applied") == place);
        wait("none is on its way to the old one", || in_flight(&server, old) == 0);
        let [was, had] = [before, after].map(|mock| mock.counts().requests_total);
        let ended = load.ended();
        // Of those that end, one of each client may have been asked for already.
        wait("the load goes on", || load.ended() >= ended + 500 + CLIENTS as u64);
        assert_eq!(before.counts().requests_total, was, "the old one is asked no more");
        assert!(after.counts().requests_total >= had + 500, "the new one is asked");
    }
    let tally = load.stop();
    assert_eq!(tally.count(&End::Answered), tally.sent, "{tally:?}");
    assert!(server.log().contains("\"cause\":\"SIGHUP\""), "{}", server.log());
    let unchanged = reloads(&server, "unchanged");
    server.signal(Signal::HUP);
    wait("nothing changes", || reloads(&server, "unchanged") > unchanged);
    assert_eq!(reloads(&server, "applied"), 3);
}

#[test]
fn of_a_bad_file_nothing_is_taken_over() {
    let a = Mock::start(&[]);
    let good = at("a", &a);
    let server = start(&good);
    let no_certificates = "[upstreams.b]\nurl = \"https://b\"\nca_file = \"/no/such/file\"\n";
    let cases = [
        ("[gateway]\nretries = 11\n", ["gateway.retries = 11", "0 to 10"]),
        ("[models.mock]\nupstreams = [\"b\"]\n", ["models.mock.upstreams", "there are none"]),
        ("[upstreams.a\n", ["line 1", "thermograph.toml"]),
        (no_certificates, ["upstreams.b.ca_file", "/no/such/file"]),
        ("", ["thermograph.toml", "is empty"]),
    ];
    for (place, (bad, said)) in (1..).zip(cases) {
        replace(&server, bad);
        wait("it is refused", || reloads(&server, "refused") == place);
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("it was refused")).expect("a line");
        assert!(said.iter().all(|said| line.contains(said)), "{said:?}: {line}");
        assert!(line.contains("\"level\":\"ERROR\""), "{line}");
        assert_eq!(post(&server.api(CHAT), &whole().to_string()).status, 200, "{bad}");
    }
    fs::remove_file(server.config()).expect("removed");
    wait("it is missed", || server.log().contains("cannot read"));
    assert_eq!(reloads(&server, "applied"), 0);
    replace(&server, &format!("{good}\n[gateway]\nretries = 1\n"));
    wait("it is mended", || reloads(&server, "applied") == 1);
    assert_eq!(post(&server.api(CHAT), &whole().to_string()).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_upstream_that_is_removed_or_replaced_comes_to_its_end() {
    let slow = Mock::start(&["--tokens=24", "--interval=250ms"]);
    let b = Mock::start(&[]);
    let others = [at("b", &b), at("a", &b)];
    for other in others {
        let server = start(&at("a", &slow));
        let mut client = Client::new(server.addresses.api);
        let mut begun = client.begin(CHAT, &stream()).await.expect("an answer");
        let first = begun.frame().await.expect("a frame").expect("of the stream");
        replace(&server, &other);
        wait("it is taken over", || reloads(&server, "applied") == 1);
        let answered = Client::new(server.addresses.api).post(CHAT, &whole()).await;
        assert_eq!(answered.end(), End::Answered);
        assert_eq!(in_flight(&server, "a"), 1, "it goes on");
        let mut reply = Reply::read(Ok(begun)).await;
        reply.body = [first.into_data().expect("data"), reply.body].concat().into();
        assert_eq!(reply.end(), End::Answered);
        wait("it is over", || in_flight(&server, "a") == 0);
    }
    assert_eq!(slow.counts().answered, 2);
}

#[test]
fn what_only_a_start_takes_over_is_named_once() {
    let a = Mock::start(&[]);
    let server = start(&at("a", &a));
    let rest = "[api]\nbody_limit = \"1MiB\"\n[engine]\nnice = 7\n";
    replace(&server, &format!("{}{rest}", at("a", &a)));
    wait("it is looked at", || reloads(&server, "unchanged") == 1);
    server.signal(Signal::HUP);
    wait("it is looked at again", || reloads(&server, "unchanged") == 2);
    let log = server.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("at the next start")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("\"keys\":\"api.body_limit, engine.nice\""), "{told:?}");
    assert_eq!(reloads(&server, "applied"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entrance_becomes_wider_while_it_is_full() {
    let a = Mock::start(&["--hang-rate=1"]);
    let with = |most: usize| {
        format!("{}[gateway]\nmax_in_flight = {most}\nmax_waiting = 0\n", at("a", &a))
    };
    let server = start(&with(1));
    let address = server.addresses.api;
    let ask = || async move { Client::new(address).post(CHAT, &whole()).await };
    let first = tokio::spawn(ask());
    wait("it hangs", || a.counts().in_flight == 1);
    assert_eq!(ask().await.end(), End::Refused(503));
    replace(&server, &with(2));
    wait("it is taken over", || reloads(&server, "applied") == 1);
    let second = tokio::spawn(ask());
    wait("both hang", || a.counts().in_flight == 2);
    assert_eq!(ask().await.end(), End::Refused(503));
    replace(&server, &with(1));
    wait("it is taken over", || reloads(&server, "applied") == 2);
    first.abort();
    wait("one has left", || a.counts().in_flight == 1);
    assert_eq!(ask().await.end(), End::Refused(503), "there is one place, and it is taken");
    second.abort();
}
