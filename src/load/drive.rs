//! The driver: workers, a connection each, and what came of their requests.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::{
    Counts, Limit, Pace, Plan, Report,
    connection::Connection,
    failure::Failure,
    tally::Tally,
    tickets::{Ticket, Tickets},
};

/// After a connection was refused: how long its worker waits, so as not to spin.
const BACK_OFF: Duration = Duration::from_millis(100);
/// After a stop: how long requests on their way are still waited for.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Drives what the plan says until its limit or a `stop`, and reports on what was measured.
///
/// Must run in a Tokio runtime with I/O and time. `counts` tells meanwhile how far it is; it
/// begins anew after the warm-up.
pub async fn drive(plan: &Plan, counts: &Arc<Counts>, stop: &CancellationToken) -> Report {
    let run = Arc::new(Run {
        plan: plan.clone(),
        counts: Arc::clone(counts),
        tallies: Mutex::default(),
        stop: stop.clone(),
    });
    let connect = |_| Connection::new(plan.address.clone());
    let mut connections: Vec<_> = (0..plan.connections).map(connect).collect();
    let mut warmup = 0;
    if !plan.warmup.is_zero() {
        let phase = run.phase(Limit::Time(plan.warmup), connections);
        (connections, _) = phase.await;
        warmup = counts.done.load(Relaxed);
        run.forget();
    }
    let (_, elapsed) = run.phase(plan.limit, connections).await;
    Report::new(plan, &run.take(), elapsed, warmup)
}

/// What all workers share.
#[derive(Debug)]
struct Run {
    plan: Plan,
    counts: Arc<Counts>,
    /// One for each kind of request, made with the first.
    tallies: Mutex<Vec<Tally>>,
    stop: CancellationToken,
}

impl Run {
    /// Drives up to a limit; gives back the connections, still open, and the time it took.
    async fn phase(
        self: &Arc<Self>,
        limit: Limit,
        connections: Vec<Connection>,
    ) -> (Vec<Connection>, Duration) {
        let start = Instant::now();
        let tickets = Arc::new(Tickets::new(self.plan.pace, limit, self.stop.clone()));
        let mut workers = JoinSet::new();
        let count = connections.len();
        for connection in connections {
            workers.spawn(Arc::clone(self).work(connection, Arc::clone(&tickets)));
        }
        if self.plan.pace != Pace::Closed {
            let pacer = Arc::clone(&tickets);
            // It cannot fail: it only sleeps and counts.
            let _ = tokio::task::spawn_blocking(move || pacer.pace(count)).await;
        }
        let connections = self.finish(workers, &tickets).await;
        for number in tickets.unsent() {
            self.record(number, 0, Err(Failure::Unsent), Duration::ZERO);
        }
        (connections, start.elapsed())
    }

    /// Waits for the workers. What was due and could not be sent has the time of one more request.
    async fn finish(&self, workers: JoinSet<Connection>, tickets: &Tickets) -> Vec<Connection> {
        let mut all = std::pin::pin!(workers.join_all());
        if self.plan.pace != Pace::Closed {
            tokio::select! {
                // Cancel-safe: `all` is polled on below.
                connections = &mut all => return connections,
                () = time::sleep(self.plan.timeout) => {}
                () = self.stop.cancelled() => {}
            }
            tickets.close();
        }
        all.await
    }

    async fn work(
        self: Arc<Self>,
        mut connection: Connection,
        tickets: Arc<Tickets>,
    ) -> Connection {
        while let Some(Ticket { number, begun }) = tickets.next().await {
            let (inputs, done) = match self.plan.traffic.call(number, &self.plan.address) {
                Ok(call) => {
                    let exchange = connection.exchange(call.request);
                    (call.inputs, self.bounded(exchange).await)
                }
                Err(bad) => (0, Err(bad.into())),
            };
            if let Err(Failure::Timeout(_) | Failure::Interrupted) = done {
                connection.close();
            }
            let refused = matches!(done, Err(Failure::Connect(_)));
            self.record(number, inputs, done, begun.elapsed());
            if refused {
                time::sleep(BACK_OFF).await;
            }
        }
        connection
    }

    /// An exchange within its time, and cut short some time after a stop.
    async fn bounded(
        &self,
        exchange: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let timeout = self.plan.timeout;
        tokio::select! {
            // Whoever sees an exchange cancelled closes its connection.
            done = time::timeout(timeout, exchange) => {
                done.unwrap_or(Err(Failure::Timeout(timeout)))
            }
            () = async { self.stop.cancelled().await; time::sleep(LAST_CALL).await } => {
                Err(Failure::Interrupted)
            }
        }
    }

    fn record(&self, number: u64, inputs: u64, done: Result<(), Failure>, latency: Duration) {
        let traffic = &self.plan.traffic;
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.resize_with(traffic.names().len(), Tally::default);
        let tally = &mut tallies[traffic.kind(number)];
        self.counts.add(done.is_err());
        match done {
            Ok(()) => tally.record(inputs, latency),
            Err(failure) => tally.fail(&failure),
        }
    }

    /// Counts anew.
    fn forget(&self) {
        self.take();
        self.counts.reset();
    }

    fn take(&self) -> Vec<Tally> {
        let mut tallies =
            mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner));
        tallies.resize_with(self.plan.traffic.names().len(), Tally::default);
        tallies
    }
}
