//! The one promise that has a time: the page is there within a second while no worker is.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, routing::get};
use thermograph::{ConsoleMode, Thermograph};
use tokio::runtime;
use tower::ServiceExt as _;

use super::{Browser, has};
use crate::support::{agent, get as http_get, wait};

/// Longest time until the page is there and has heard its first event.
const PROMISE: Duration = Duration::from_secs(1);

#[test]
fn the_page_is_there_within_a_second_while_every_worker_is_blocked() {
    const WORKERS: usize = 2;
    let builder = Thermograph::builder().listen((Ipv4Addr::LOCALHOST, 0)).console(ConsoleMode::Off);
    let thermograph = builder.build().expect("valid");
    let door = thermograph.serve().expect("opened");
    let gate = Arc::new(Mutex::new(()));
    let held = Arc::clone(&gate);
    let block = move || {
        let held = Arc::clone(&held);
        async move { drop(held.lock().expect("no panic")) }
    };
    let app = Router::new().route("/block", get(block)).layer(thermograph.layer());
    let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let closed = gate.lock().expect("no panic");
    // Not over the network: a worker that is blocked may be the one that hears it.
    let request = || Request::get("/block").body(Body::empty()).expect("a request");
    let requests: Vec<_> =
        (0..WORKERS).map(|_| runtime.spawn(app.clone().oneshot(request()))).collect();
    wait("every worker is blocked", || {
        thermograph.stalls().iter().filter(|stall| !stall.ended).count() == WORKERS
    });

    let page = format!("http://{}/debug/", door.address());
    let began = Instant::now();
    assert!(http_get(&page).text.contains("</html>"), "the page is cut");
    let events = agent().get(format!("{page}live")).call().expect("an answer");
    let mut lines = BufReader::new(events.into_body().into_reader()).lines();
    assert_eq!(lines.next().expect("a line").expect("no end"), "event: lanes");
    let took = began.elapsed();
    assert!(took < PROMISE, "it took {took:?}");

    let mut browser = Browser::start();
    browser.open(&page);
    browser.wait("the state", &has("#state", "stalled now: GET /block"));
    browser.wait("both workers", &has("#state", "and 1 worker more"));
    browser.wait("the stall", &has("#stalls-list .name", "GET /block"));
    browser.wait("it lasts", &has("#stalls-list .why", "stalls now"));
    drop(closed);
    for request in requests {
        let response = runtime.block_on(request).expect("no panic").expect("infallible");
        assert_eq!(response.status(), 200);
    }
    browser.wait("it has ended", &has("#state", "live"));
    browser.assert_no_problems();
}
