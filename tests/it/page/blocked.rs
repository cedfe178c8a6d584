//! The one promise that has a time: the page is there within a second while no worker is.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use thermograph::diagnostics::{ConsoleMode, Thermograph};
use tokio::{net::TcpListener, runtime};

use super::{Browser, has};
use crate::support::{get as http_get, wait};

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
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let url = format!("http://{}/block", listener.local_addr().expect("an address"));
    runtime.spawn(async move { axum::serve(listener, app).await });
    let page = format!("http://{}/debug/", door.address());
    // It is the page's time that is promised, not that of a browser's start.
    let mut browser = Browser::start();

    std::thread::scope(|scope| {
        let closed = gate.lock().expect("no panic");
        let mut requests = Vec::new();
        wait("every worker is blocked", || {
            // A worker that is blocked may have the next connection in its queue.
            if requests.len() < 8 * WORKERS {
                requests.push(scope.spawn(|| http_get(&url).status));
            }
            let stalled = thermograph.stalls();
            stalled.iter().filter(|stall| !stall.ended).count() == WORKERS
        });
        let began = Instant::now();
        browser.open(&page);
        browser.wait("an event was heard", &has("#state", "stalled now: GET /block"));
        let took = began.elapsed();
        assert!(took < PROMISE, "it took {took:?}");
        browser.wait("both workers", &has("#state", "and 1 worker more"));
        browser.wait("the stall", &has("#stalls-list .name", "GET /block"));
        browser.wait("it lasts", &has("#stalls-list .why", "stalls now"));
        drop(closed);
        for request in requests {
            assert_eq!(request.join().expect("no panic"), 200);
        }
        browser.wait("it has ended", &has("#state", "live"));
    });
    browser.assert_no_problems();
}
