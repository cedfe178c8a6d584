//! The library in an app that is not ours.

use std::{net::Ipv4Addr, sync::mpsc, time::Duration};

use axum::{Router, routing::get};
use thermograph::{Config, ConsoleMode, Thermograph, Token};
use tokio::{net::TcpListener, runtime};

use crate::support::{agent, answer, get as http_get, wait};

fn thermograph() -> Thermograph {
    let builder = Thermograph::builder().listen((Ipv4Addr::LOCALHOST, 0)).console(ConsoleMode::Off);
    builder.build().expect("the configuration is valid")
}

/// Serves an app on a runtime of its own, with one worker, for as long as the test runs.
fn serve(app: Router) -> String {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("served");
        });
    });
    format!("http://{address}")
}

#[test]
fn the_door_answers_while_every_worker_is_blocked() {
    let thermograph = thermograph();
    let door = thermograph.serve().expect("opened");
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let blocked = std::sync::Arc::new(blocked);
    let block = move || {
        let blocked = std::sync::Arc::clone(&blocked);
        async move { blocked.lock().expect("one at a time").recv().expect("released") }
    };
    let app = Router::new().route("/block", get(block)).layer(thermograph.layer());
    let url = serve(app);
    std::thread::scope(|scope| {
        let request = scope.spawn(|| http_get(&format!("{url}/block")).status);
        let handlers = format!("http://{}/debug/handlers", door.address());
        wait("the request is on its way", || {
            http_get(&handlers).json()["handlers"][0]["in_flight"] == 1
        });
        // The only worker is blocked now, or will be before it answers.
        assert_eq!(http_get(&handlers).status, 200);
        release.send(()).expect("received");
        assert_eq!(request.join().expect("no panic"), 200);
    });
}

#[test]
fn a_handler_that_blocks_stands_out_by_its_longest_poll() {
    let thermograph = thermograph();
    let sleep = || async { std::thread::sleep(Duration::from_millis(50)) };
    let rest = || async { tokio::time::sleep(Duration::from_millis(50)).await };
    let app = Router::new().route("/blocks", get(sleep)).route("/waits", get(rest));
    let url = serve(app.layer(thermograph.layer()));
    for path in ["/blocks", "/waits", "/blocks", "/waits"] {
        assert_eq!(http_get(&format!("{url}{path}")).status, 200);
    }
    let report = thermograph.ledger().report();
    let row = |route| report.handlers.iter().find(|row| row.route == route).expect("a row");
    assert!(row("/blocks").poll_ms.max >= 50.0, "{report}");
    assert!(row("/waits").total_ms.max >= 50.0, "{report}");
    assert!(row("/waits").busy_ms < row("/blocks").busy_ms, "{report}");
    assert_eq!(report.handlers[0].route, "/blocks");
}

#[test]
fn the_routes_can_be_mounted_in_the_app_itself() {
    let config = Config { token: Token::new("secret"), ..Config::default() };
    let thermograph = Thermograph::builder().config(config).build().expect("valid");
    let url = serve(Router::new().merge(thermograph.router()));
    assert_eq!(http_get(&format!("{url}/debug/")).status, 401);
    let request = agent().get(format!("{url}/debug/")).header("authorization", "Bearer secret");
    assert_eq!(answer(request.call().expect("an answer")).status, 200);
}
