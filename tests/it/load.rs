//! The load driver against servers that do what they are told.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use thermograph_server::load::{Counts, Limit, Pace, Plan, Report, Target, Traffic, drive};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time,
};
use tokio_util::sync::CancellationToken;

/// Serves until the test's runtime ends.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn plan(address: SocketAddr, targets: &[&str], limit: Limit, pace: Pace) -> Plan {
    let targets = targets.iter().map(|target| target.parse::<Target>().expect("a target"));
    Plan {
        address: address.into(),
        traffic: Traffic::targets(targets).expect("traffic"),
        connections: 4,
        limit,
        pace,
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(10),
    }
}

async fn driven(plan: &Plan) -> Report {
    drive(plan, &Arc::new(Counts::default()), &CancellationToken::new()).await
}

/// Counts what it serves.
fn counting(seen: &Arc<AtomicU64>) -> Router {
    let count = async |State(seen): State<Arc<AtomicU64>>| {
        seen.fetch_add(1, Relaxed);
    };
    Router::new().route("/", get(count)).with_state(Arc::clone(seen))
}

#[tokio::test]
async fn counts_what_the_server_saw() {
    for pace in [Pace::Closed, Pace::Open { rate: 2000.0 }] {
        let seen = Arc::new(AtomicU64::new(0));
        let address = serve(counting(&seen)).await;
        let report = driven(&plan(address, &["GET /"], Limit::Requests(500), pace)).await;
        assert_eq!((report.total.requests, report.total.failed), (500, 0), "{pace:?} {report}");
        assert_eq!(seen.load(Relaxed), 500, "{pace:?}");
    }
}

#[tokio::test]
async fn an_open_loop_sends_what_is_due_in_its_time() {
    let seen = Arc::new(AtomicU64::new(0));
    let address = serve(counting(&seen)).await;
    let limit = Limit::Time(Duration::from_millis(300));
    let report = driven(&plan(address, &["GET /"], limit, Pace::Open { rate: 1000.0 })).await;
    assert_eq!((report.total.requests, seen.load(Relaxed)), (300, 300));
}

#[tokio::test]
async fn the_warm_up_is_counted_apart() {
    let seen = Arc::new(AtomicU64::new(0));
    let address = serve(counting(&seen)).await;
    let measured = plan(address, &["GET /"], Limit::Requests(100), Pace::Closed);
    let report = driven(&Plan { warmup: Duration::from_millis(50), ..measured }).await;
    assert_eq!(report.total.requests, 100);
    assert!(report.warmup_requests > 0);
    assert_eq!(seen.load(Relaxed), 100 + report.warmup_requests);
}

#[tokio::test]
async fn kinds_come_as_often_as_they_weigh() {
    let app = Router::new().route("/a", get(|| async {})).route("/b", get(|| async {}));
    let address = serve(app).await;
    let targets = ["GET /a=3", "GET /b=1"];
    let report = driven(&plan(address, &targets, Limit::Requests(400), Pace::Closed)).await;
    let kinds: Vec<_> = report.kinds.iter().map(|row| (row.name.as_str(), row.requests)).collect();
    assert_eq!(kinds, [("GET /a", 300), ("GET /b", 100)]);
}

#[tokio::test]
async fn statuses_are_counted_with_what_the_first_one_said() {
    let broken = || async { (StatusCode::INTERNAL_SERVER_ERROR, "the cause") };
    let app = Router::new().route("/good", get(|| async {})).route("/bad", get(broken));
    let address = serve(app).await;
    let targets = ["GET /good=2", "GET /bad=1", "GET /none=1"];
    let report = driven(&plan(address, &targets, Limit::Requests(40), Pace::Closed)).await;
    assert_eq!((report.total.requests, report.total.failed), (40, 20));
    assert_eq!(report.errors["status 500"].count, 10);
    assert_eq!(report.errors["status 404"].count, 10);
    assert!(report.errors["status 500"].example.ends_with("the cause"), "{:?}", report.errors);
}

#[tokio::test]
async fn a_time_out_is_a_failure_of_its_own() {
    let app = Router::new().route("/", get(pending::<()>));
    let address = serve(app).await;
    let patient = plan(address, &["GET /"], Limit::Requests(8), Pace::Closed);
    let report = driven(&Plan { timeout: Duration::from_millis(50), ..patient }).await;
    assert_eq!((report.total.requests, report.errors["timeout"].count), (8, 8));
}

/// Answers each connection's first request with these bytes, and closes.
async fn answer_and_close(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, bytes));
        }
    });
    address
}

async fn answer(stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.readable().await?;
    // The request is read, so that closing does not reset the connection.
    stream.async_io(Interest::READABLE, || stream.try_read(&mut [0; 4096])).await?;
    stream.async_io(Interest::WRITABLE, || stream.try_write(bytes)).await?;
    Ok(())
}

#[tokio::test]
async fn connections_that_end_too_early_are_failures() {
    for (bytes, kind) in [
        (&b""[..], "closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred", "body"),
    ] {
        let address = answer_and_close(bytes).await;
        let report = driven(&plan(address, &["GET /"], Limit::Requests(20), Pace::Closed)).await;
        assert_eq!(report.total.requests, 20, "{report}");
        assert_eq!(report.errors[kind].count, 20, "{report}");
    }
}

#[tokio::test]
async fn a_connection_closed_after_its_answer_is_opened_again() {
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let address = answer_and_close(bytes).await;
    let report = driven(&plan(address, &["GET /"], Limit::Requests(20), Pace::Closed)).await;
    assert_eq!((report.total.requests, report.total.failed), (20, 0), "{report}");
}

#[tokio::test]
async fn nobody_there_is_counted_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let report = driven(&plan(address, &["GET /"], Limit::Requests(8), Pace::Closed)).await;
    assert_eq!((report.total.requests, report.errors["connect"].count), (8, 8));
}

/// Stalls once, at its hundredth request, for everybody.
fn stalling(stall: Duration) -> Router {
    let turn = async move |State(turns): State<Arc<Mutex<u64>>>| {
        let mut turns = turns.lock().await;
        *turns += 1;
        if *turns == 100 {
            time::sleep(stall).await;
        }
    };
    Router::new().route("/", get(turn)).with_state(Arc::default())
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_that_a_stall_causes() {
    // 200 of the 500 requests fall due in the stall: they wait 200 ms in the mean.
    let stall = Duration::from_millis(400);
    let address = serve(stalling(stall)).await;
    let pace = Pace::Open { rate: 500.0 };
    let open = driven(&plan(address, &["GET /"], Limit::Requests(500), pace)).await;
    assert_eq!((open.total.requests, open.total.failed), (500, 0));
    assert!(open.total.latency_ms.max >= 390.0, "{open}");
    assert!(open.total.latency_ms.p90 >= 150.0, "{open}");

    // A closed loop asks for nothing in the stall: only its four connections see it.
    let address = serve(stalling(stall)).await;
    let closed = driven(&plan(address, &["GET /"], Limit::Requests(500), Pace::Closed)).await;
    assert!(closed.total.latency_ms.max >= 390.0, "{closed}");
    assert!(closed.total.latency_ms.p90 < 150.0, "{closed}");
}

#[tokio::test]
async fn what_was_due_and_not_sent_is_a_failure() {
    let app = Router::new().route("/", get(pending::<()>));
    let address = serve(app).await;
    let pace = Pace::Open { rate: 1000.0 };
    let patient = plan(address, &["GET /"], Limit::Requests(100), pace);
    let report = driven(&Plan { timeout: Duration::from_millis(100), ..patient }).await;
    assert_eq!((report.total.requests, report.total.failed), (100, 100), "{report}");
    let counted = report.errors["timeout"].count + report.errors["unsent"].count;
    assert_eq!(counted, 100, "{report}");
}

#[tokio::test]
async fn a_stop_ends_the_run_and_the_report_is_there() {
    let seen = Arc::new(AtomicU64::new(0));
    let address = serve(counting(&seen)).await;
    for pace in [Pace::Closed, Pace::Open { rate: 100.0 }] {
        let stop = CancellationToken::new();
        let counts = Arc::new(Counts::default());
        let endless = plan(address, &["GET /"], Limit::Requests(u64::MAX), pace);
        let run = drive(&endless, &counts, &stop);
        let stopping = async {
            while counts.done.load(Relaxed) < 10 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let (report, ()) = tokio::join!(run, stopping);
        assert!(report.total.requests >= 10, "{pace:?} {report}");
        assert_eq!(report.total.failed, 0, "{pace:?} {report}");
    }
}
