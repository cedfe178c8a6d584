//! Latency that begins where the client's begins, and who made it long.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, http::HeaderMap, routing::get};
use rustix::time::{ClockId, clock_gettime};
use thermograph::{
    ConsoleMode, Diagnosis, Door, Thermograph,
    handlers::{Arrival, HandlerRow, LatencyParts, LedgerReport},
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

use crate::app::{alone, get_text, wait};

/// How long the guilty handler holds its worker asleep, and how long it computes, which takes longer
/// where the machine is busy.
const SLEEP: Duration = Duration::from_millis(65);
const COMPUTE: Duration = Duration::from_millis(25);
/// Time that `mixed` awaits.
const AWAIT: Duration = Duration::from_millis(50);
/// Time between two requests to the guilty one.
const PAUSE: Duration = Duration::from_millis(200);
/// Requests to the innocent one, and the time between two of them.
const REQUESTS: u32 = 300;
const BETWEEN: Duration = Duration::from_millis(10);
/// Connections that send these in turn: enough for all that arrive while a worker is held.
const CONNECTIONS: u32 = 16;

/// The clock of clients and handlers: they are in one process.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// When innocent requests were written by their clients, and when their handler was first polled.
static WAITED: Mutex<Vec<(Duration, Duration)>> = Mutex::new(Vec::new());
/// From when to when the guilty handler held its worker.
static HELD: Mutex<Vec<(Duration, Duration)>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Debug)]
enum Listens {
    Timed,
    Plain,
}

/// What a run came to.
struct Run {
    report: LedgerReport,
    diagnosis: Diagnosis,
    metrics: String,
    /// In order.
    waited: Vec<Duration>,
    /// Milliseconds that requests waited while the guilty handler held a worker.
    delayed: f64,
}

impl Run {
    fn row(&self, route: &str) -> &HandlerRow {
        let found = self.report.handlers.iter().find(|row| row.route == route);
        found.unwrap_or_else(|| panic!("{route} is not in {}", self.report))
    }

    fn waited(&self, quantile: f64) -> f64 {
        let index = (self.waited.len() - 1) as f64 * quantile;
        millis(self.waited[index as usize])
    }

    fn sum(&self) -> f64 {
        millis(self.waited.iter().sum())
    }

    /// How long requests to `/hello` waited for `route`, in milliseconds.
    fn delayed_by(&self, route: &str) -> f64 {
        let delays = self.report.delays.iter();
        let its = delays.filter(|delay| delay.route == "/hello" && delay.by_route == route);
        its.map(|delay| delay.ms).sum()
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn hello(headers: HeaderMap) -> &'static str {
    let sent = headers.get("x-sent").and_then(|sent| sent.to_str().ok()?.parse().ok());
    if let Some(sent) = sent {
        push(&WAITED, (Duration::from_nanos(sent), EPOCH.elapsed()));
    }
    "hello"
}

async fn burn() {
    let start = EPOCH.elapsed();
    let until = cpu_time() + COMPUTE;
    while cpu_time() < until {}
    push(&HELD, (start, EPOCH.elapsed()));
}

async fn sleep() {
    let start = EPOCH.elapsed();
    thread::sleep(SLEEP);
    push(&HELD, (start, EPOCH.elapsed()));
}

/// Computes and sleeps on its worker in one poll, and awaits between two.
async fn mixed() {
    burn().await;
    sleep().await;
    tokio::time::sleep(AWAIT).await;
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

fn request(stream: &mut TcpStream, path: &str) {
    let sent = EPOCH.elapsed().as_nanos();
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-sent: {sent}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    assert!(stream.read(&mut [0; 4096]).expect("an answer") > 0, "{path}");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Sends requests on a schedule that answers do not delay, to `/hello` and to `guilty`.
fn load(address: SocketAddr, guilty: &'static str) {
    let start = Instant::now() + Duration::from_millis(50);
    let until = |at: Instant| thread::sleep(at.saturating_duration_since(Instant::now()));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = connect(address);
            for round in 0..(BETWEEN * REQUESTS).as_millis() / PAUSE.as_millis() {
                until(start + PAUSE * round as u32);
                request(&mut stream, guilty);
            }
        });
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream = connect(address);
                for number in (connection..REQUESTS).step_by(CONNECTIONS as usize) {
                    // A scatter that is the same each time.
                    let scatter = number.wrapping_mul(2_654_435_761) % 9_000;
                    until(start + BETWEEN * number + Duration::from_micros(scatter.into()));
                    request(&mut stream, "/hello");
                }
            });
        }
    });
}

/// An app on a runtime of so many workers, and its address.
fn serve(
    workers: usize,
    hooks: bool,
    listens: Listens,
) -> (Thermograph, Door, Runtime, SocketAddr) {
    let builder = Thermograph::builder().listen((Ipv4Addr::LOCALHOST, 0));
    let thermograph = builder.console(ConsoleMode::Off).build().expect("valid");
    let door = thermograph.serve().expect("opened");
    let mut runtime = runtime::Builder::new_multi_thread();
    if hooks {
        thermograph.hooks().install(&mut runtime);
    }
    let runtime = runtime.worker_threads(workers).enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let address = listener.local_addr().expect("an address");
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/warm", get(async || "warm"))
        .route("/burn", get(burn))
        .route("/sleep", get(sleep))
        .route("/mixed", get(mixed))
        .layer(thermograph.layer());
    let timed = thermograph.clone();
    runtime.spawn(async move {
        match listens {
            Listens::Timed => axum::serve(timed.listener(listener), app).await,
            Listens::Plain => axum::serve(listener, app).await,
        }
    });
    (thermograph, door, runtime, address)
}

/// The kernel begins to stamp a moment after the first socket asks for it: until it does. The
/// connection may be made before the listener is wrapped.
fn warm_up(thermograph: &Thermograph, address: SocketAddr) {
    let mut stream = connect(address);
    wait("the kernel stamps what it receives", || {
        let before = thermograph.ledger().snapshot();
        request(&mut stream, "/warm");
        // The answer may be there before it is counted.
        thread::sleep(Duration::from_millis(5));
        let report = thermograph.ledger().snapshot().since(&before).report();
        report.handlers.iter().any(|row| row.route == "/warm" && row.measured > 0)
    });
}

/// The app under load.
fn run(workers: usize, guilty: &'static str, hooks: bool, listens: Listens) -> Run {
    LazyLock::force(&EPOCH);
    let (thermograph, door, runtime, address) = serve(workers, hooks, listens);
    match listens {
        Listens::Timed => warm_up(&thermograph, address),
        // The estimate learns how many requests arrive while nothing stalls.
        Listens::Plain => load(address, "/warm"),
    }
    drop((take(&WAITED), take(&HELD)));
    let before = thermograph.ledger().snapshot();
    load(address, guilty);
    // Delays are charged a moment after the stall.
    let figures = || thermograph.ledger().snapshot().since(&before).report();
    let charged = || figures().delays.iter().map(|delay| delay.ms).sum::<f64>();
    let mut last = -1.0;
    wait("every delay is charged", || {
        thread::sleep(Duration::from_millis(300));
        let earlier = std::mem::replace(&mut last, charged());
        earlier.to_bits() == last.to_bits()
    });
    let report = figures();
    let url = |path: &str| format!("http://{}{path}", door.address());
    let diagnosis = serde_json::from_str(&get_text(&url("/debug/diagnosis"))).expect("a diagnosis");
    let metrics = get_text(&url("/metrics"));
    runtime.shutdown_timeout(Duration::from_secs(5));
    let (waited, held) = (take(&WAITED), take(&HELD));
    assert_eq!(waited.len(), REQUESTS as usize);
    let common = |(sent, polled): &(Duration, Duration)| -> Duration {
        let with =
            |(from, to): &(Duration, Duration)| to.min(polled).saturating_sub(*from.max(sent));
        held.iter().map(with).sum()
    };
    let delayed = millis(waited.iter().map(common).sum());
    let mut waited: Vec<_> =
        waited.iter().map(|(sent, polled)| polled.saturating_sub(*sent)).collect();
    waited.sort_unstable();
    Run { report, diagnosis, metrics, waited, delayed }
}

/// Within a share of the truth, and a little that does not depend on it.
fn assert_near(what: &str, shown: f64, truth: f64, share: f64, slack: f64) {
    let off = (shown - truth).abs();
    assert!(off <= truth * share + slack, "{what}: {shown:.2} ms is not near {truth:.2} ms");
}

fn print_figures(run: &Run, guilty: &str, context: &str) {
    let hello = run.row("/hello");
    println!(
        "{context}: waited p90 {:.1} p99 {:.1} sum {:.0}; shown p90 {:.1} p99 {:.1} waiting {:.0} \
         harm {:?} delayed {:.0} of {:.0} {:?}",
        run.waited(0.9),
        run.waited(0.99),
        run.sum(),
        hello.head_ms.p90,
        hello.head_ms.p99,
        hello.latency.waiting_ms,
        run.row(guilty).harm_ms,
        run.delayed_by(guilty),
        run.delayed,
        run.row(guilty).stalls,
    );
}

/// The delay that is charged to the guilty handler is within a factor of 1.5 of what clients waited
/// for it.
fn assert_factor(run: &Run, guilty: &str, context: &str) {
    let delayed = run.delayed_by(guilty);
    let factor = delayed / run.delayed;
    // Of stalls that are the machine's fault no handler is charged.
    let stalls = run.row(guilty).stalls;
    let charged = stalls.own() as f64 / stalls.all() as f64;
    assert!(
        (charged / 1.5..1.5).contains(&factor),
        "{context}: {delayed} of {} ms, {stalls:?}",
        run.delayed
    );
}

fn assert_measured(run: &Run, guilty: &str, context: &str) {
    let hello = run.row("/hello");
    print_figures(run, guilty, context);
    assert_eq!((hello.measured, hello.arrival), (hello.requests, Arrival::Measured), "{context}");
    // The stalls reach the client: else there is nothing to measure.
    assert!(run.waited(0.99) > 10.0, "{context}: {} ms", run.waited(0.99));
    assert_near(&format!("{context}: p90"), hello.head_ms.p90, run.waited(0.9), 0.15, 2.0);
    assert_near(&format!("{context}: p99"), hello.head_ms.p99, run.waited(0.99), 0.15, 4.0);
    let waiting = hello.latency.waiting_ms;
    assert_near(&format!("{context}: waiting"), waiting, run.sum(), 0.05, 50.0);
    let delayed = run.delayed_by(guilty);
    assert_factor(run, guilty, context);
    let harm = run.row(guilty).harm_ms.expect("told");
    assert!(harm >= delayed - 1e-6 && harm <= delayed * 1.5, "{context}: {harm} of {delayed} ms");
    assert_whole(run);
    let victim = run.diagnosis.victims.iter().find(|victim| victim.route == "/hello");
    let victim = victim.unwrap_or_else(|| panic!("{:#?}", run.diagnosis));
    assert_eq!((victim.arrival, &*victim.from[0].route), (Arrival::Measured, guilty), "{victim:?}");
    assert_near("the diagnosis' delay", victim.delayed_ms, delayed, 0.01, 1.0);
    let line = format!(
        "thermograph_delay_seconds_total{{method=\"GET\",route=\"/hello\",by_method=\"GET\",by_route=\"{guilty}\"}}"
    );
    assert!(run.metrics.contains(&line), "{line} is not in {}", run.metrics);
}

/// Without a wrapped listener there is an estimate, and it says so.
fn assert_estimated(run: &Run, guilty: &str, context: &str) {
    let hello = run.row("/hello");
    print_figures(run, guilty, context);
    assert_eq!(hello.arrival, Arrival::Estimated, "{context}");
    assert_near(&format!("{context}: p90"), hello.head_ms.p90, run.waited(0.9), 0.25, 3.0);
    assert_near(&format!("{context}: p99"), hello.head_ms.p99, run.waited(0.99), 0.25, 5.0);
    assert_factor(run, guilty, context);
    let victim = run.diagnosis.victims.iter().find(|victim| victim.route == "/hello");
    let arrival = victim.map(|victim| victim.arrival);
    assert_eq!(arrival, Some(Arrival::Estimated), "{context}");
    assert!(run.diagnosis.notes.iter().any(|note| note.contains("about right at best")));
    assert_whole(run);
}

/// The parts add up.
fn assert_whole(run: &Run) {
    for row in &run.report.handlers {
        let parts = row.latency;
        let LatencyParts { whole_ms, waiting_ms, cpu_ms, blocked_ms, awaiting_ms, unknown_ms } =
            parts;
        let all = [waiting_ms, cpu_ms, blocked_ms, awaiting_ms, unknown_ms];
        assert!(all.iter().all(|part| *part >= 0.0), "{parts:?}");
        assert!((all.iter().sum::<f64>() - whole_ms).abs() < 1e-6, "{parts:?}");
    }
}

#[test]
fn latency_of_a_victim_is_what_its_clients_wait_with_one_two_and_four_workers() {
    let _alone = alone();
    for workers in [1, 2, 4] {
        for (guilty, hooks) in [("/burn", true), ("/sleep", false)] {
            let run = run(workers, guilty, hooks, Listens::Timed);
            assert_measured(&run, guilty, &format!("{workers} workers, {guilty}"));
        }
    }
}

#[test]
fn latency_without_a_timed_listener_is_an_estimate_that_says_so() {
    let _alone = alone();
    for (workers, guilty, hooks) in
        [(1, "/sleep", false), (1, "/sleep", true), (1, "/burn", true), (2, "/sleep", false)]
    {
        let run = run(workers, guilty, hooks, Listens::Plain);
        assert_estimated(&run, guilty, &format!("{workers} workers, {guilty}, hooks {hooks}"));
    }
}

/// A client that waits for one answer before it asks again waits for no stall but its own.
#[test]
fn client_that_asks_in_turn_has_waited_for_nothing() {
    let _alone = alone();
    for listens in [Listens::Plain, Listens::Timed] {
        let (thermograph, _door, runtime, address) = serve(1, false, listens);
        for _ in 0..20 {
            request(&mut connect(address), "/sleep");
        }
        let mut kept = connect(address);
        (0..20).for_each(|_| request(&mut kept, "/sleep"));
        let report = thermograph.ledger().report();
        runtime.shutdown_timeout(Duration::from_secs(5));
        let [row] = &report.handlers[..] else { panic!("{report}") };
        let parts = row.latency;
        assert!(parts.waiting_ms < parts.whole_ms * 0.1, "{listens:?}: {parts:?}");
    }
}

/// The watchdog divides polls into computing and blocked by 20 looks a second, so the bounds are wide.
#[test]
fn parts_of_latency_are_what_a_handler_did() {
    let _alone = alone();
    let (thermograph, _door, runtime, address) = serve(1, false, Listens::Timed);
    warm_up(&thermograph, address);
    drop(take(&HELD));
    let mut stream = connect(address);
    let requests = 100;
    (0..requests).for_each(|_| request(&mut stream, "/mixed"));
    let report = thermograph.ledger().report();
    runtime.shutdown_timeout(Duration::from_secs(5));
    let row = report.handlers.iter().find(|row| row.route == "/mixed").expect("a row");
    let LatencyParts { cpu_ms, blocked_ms, awaiting_ms, .. } = row.latency;
    // Each request computes first and sleeps then.
    let (mut computed, mut slept) = (Duration::ZERO, Duration::ZERO);
    for pair in take(&HELD).chunks(2) {
        let [computing, sleeping] = pair else { panic!("{pair:?}") };
        computed += computing.1.saturating_sub(computing.0);
        slept += sleeping.1.saturating_sub(sleeping.0);
    }
    println!("computed {computed:?}, slept {slept:?}: {:?}", row.latency);
    assert_near("on CPU", cpu_ms, millis(computed), 0.5, 20.0);
    assert_near("blocked", blocked_ms, millis(slept), 0.3, 20.0);
    assert_near("awaiting", awaiting_ms, millis(AWAIT * requests), 0.15, 20.0);
}
