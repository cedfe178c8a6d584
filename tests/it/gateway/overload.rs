//! Four times more requests than can be answered.
//!
//! What is asserted are ratios of one run: the answers of a gateway that is overloaded against
//! those that it gives when it is just full. The machine may be busy with something else for a
//! while, which can only make the ratios worse; so of some rounds one must hold.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, task::JoinSet, time};

use crate::{
    gateway::support::{CHAT, Client, End, Mock, Setup, crowd, whole},
    support::{Server, wait},
};

/// Time that an answer takes; clients hardly take any of the processor.
const LATENCY: Duration = Duration::from_millis(200);
/// Requests that are let in at a time.
const PLACES: u32 = 16;
/// How long each load goes on.
const TIME: Duration = Duration::from_secs(3);
/// Rounds of which one must hold.
const ROUNDS: usize = 5;

/// What came of a load.
#[derive(Debug, Default)]
struct Outcome {
    answered: usize,
    /// Answers a second.
    goodput: f64,
    /// How long refusals took, shortest first.
    refusals: Vec<Duration>,
}

/// As many clients as there are places, each of which asks when its last answer came.
async fn full(address: SocketAddr) -> Outcome {
    let start = Instant::now();
    let client = |_| async move {
        let mut client = Client::new(address);
        let mut answered = 0;
        while start.elapsed() < TIME {
            assert_eq!(client.post(CHAT, &whole()).await.end(), End::Answered);
            answered += 1;
        }
        answered
    };
    let clients: JoinSet<usize> = (0..PLACES).map(client).collect();
    let answered = clients.join_all().await.into_iter().sum();
    let goodput = answered as f64 / start.elapsed().as_secs_f64();
    Outcome { answered, goodput, refusals: Vec::new() }
}

/// Requests that come when they are due, whatever became of those before, each on a connection of
/// its own.
async fn offer(address: SocketAddr, rate: f64) -> Outcome {
    let start = time::Instant::now();
    let requests = (TIME.as_secs_f64() * rate) as u32;
    let request = |number: u32| async move {
        time::sleep_until(start + Duration::from_secs_f64(f64::from(number) / rate)).await;
        let asked = Instant::now();
        let reply = Client::new(address).post(CHAT, &whole()).await;
        if reply.status == 503 {
            assert_eq!(reply.error()["code"], "overloaded");
            assert!(!reply.header("retry-after-ms").is_empty());
        }
        (reply.end(), asked.elapsed())
    };
    let all: JoinSet<_> = (0..requests).map(request).collect();
    let mut outcome = Outcome::default();
    for (end, took) in all.join_all().await {
        match end {
            End::Answered => outcome.answered += 1,
            End::Refused(503) => outcome.refusals.push(took),
            other => panic!("{other:?}"),
        }
    }
    outcome.goodput = outcome.answered as f64 / start.elapsed().as_secs_f64();
    outcome.refusals.sort_unstable();
    outcome
}

/// One round: the figures, and whether they are as they should be.
fn round(runtime: &Runtime, server: &Server) -> (String, bool) {
    let address = server.addresses.api;
    let capacity = runtime.block_on(full(address)).goodput;
    let offered = 4.0 * capacity;
    let Outcome { answered, goodput, refusals } = runtime.block_on(offer(address, offered));
    let refused = refusals.len();
    let p99 = refusals[(refused - 1) * 99 / 100];
    let figures = format!(
        "capacity {capacity:.1}/s; of {offered:.1}/s, {answered} answered, {goodput:.1}/s; \
         {refused} refused, 99 % within {p99:?}"
    );
    (figures, goodput >= 0.9 * capacity && p99 < LATENCY / 4)
}

#[test]
fn four_times_the_capacity_leaves_the_capacity_and_refuses_the_rest_at_once() {
    let mock = Mock::start(&["--latency=200ms"]);
    // To name a stall's stack takes a hundred megabytes for a moment.
    let rest = format!(
        "[gateway]\nmax_in_flight = {PLACES}\nmax_waiting = {PLACES}\nqueue_timeout = \"10s\"\n\
         [diagnostics]\nstacks = \"off\""
    );
    let server = Setup { rest: &rest, ..Setup::of(&[&mock]) }.start();
    let runtime = crowd();
    // What it takes for good comes with the first load.
    runtime.block_on(full(server.addresses.api));
    let before = server.memory();
    let mut rounds = Vec::new();
    loop {
        let (figures, holds) = round(&runtime, &server);
        eprintln!("{figures}");
        rounds.push(figures);
        if holds {
            break;
        }
        assert!(rounds.len() < ROUNDS, "in no round: {rounds:#?}");
    }
    drop(runtime);
    for gauge in ["thermograph_gateway_in_flight", "thermograph_gateway_waiting"] {
        wait(gauge, || server.metric(gauge) == 0);
    }
    wait("memory is what it was", || {
        let now = server.memory();
        now as f64 <= 1.2 * before as f64
    });
    eprintln!("memory: {before} bytes before, {} after", server.memory());
    assert_eq!(mock.counts().abandoned, 0);
}
