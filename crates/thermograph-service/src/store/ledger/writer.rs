//! Writes rows: in batches to the database, or to the spool while that is away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::{
    Batch, Entry, Meters, Row, Spool,
    connection::{Connection, is_refusal},
};
use crate::store::{StoreConfig, error::reason, url::Target};

/// A row that is written this long after its request is late.
const LATE: Duration = Duration::from_secs(5);
/// From one try to the next, while the database is away.
const AGAIN: Duration = Duration::from_millis(500);
/// From one line in the log to the next of its kind.
const QUIET: Duration = Duration::from_secs(10);

/// Takes rows out of the queue, for as long as there are any.
pub(super) struct Writer {
    database: Database,
    queue: Queue,
    spool: Spool,
    interval: Duration,
    wake: Arc<Notify>,
    lost: Lost,
    meters: Meters,
}

/// The database, as far as it is there.
struct Database {
    target: Target,
    connection: Option<Connection>,
    /// Longest time of a batch.
    patience: Duration,
    /// When it is tried again, where it is away.
    away: Option<Instant>,
}

/// The rows that wait in memory.
struct Queue {
    rows: Receiver<Row>,
    most: usize,
    meters: Meters,
}

/// Counts rows that are lost, and says so now and then.
struct Lost {
    said: Option<Instant>,
}

/// What came of a batch.
enum Outcome {
    /// So many rows of it were new.
    Written(u64),
    /// It will not be taken whenever it comes.
    Refused,
    Away,
}

impl Writer {
    pub(super) fn new(
        target: Target,
        config: &StoreConfig,
        rows: Receiver<Row>,
        wake: Arc<Notify>,
        spool: Spool,
        meters: Meters,
    ) -> Self {
        let patience = config.flush_timeout;
        let database = Database { target, connection: None, patience, away: None };
        let queue = Queue { rows, most: config.batch, meters: meters.clone() };
        let lost = Lost { said: None };
        Self { database, queue, spool, interval: config.flush_interval, wake, lost, meters }
    }

    /// Writes until it is stopped, and then what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let is_last = tokio::select! {
                biased;
                // Cancel-safe: all three are waited for again.
                () = stop.cancelled() => true,
                () = self.wake.notified() => false,
                () = time::sleep(self.interval) => false,
            };
            if is_last {
                return self.finish().await;
            }
            self.write_all(None).await;
            self.replay().await;
        }
    }

    /// What is left goes to the database within the time of a batch, and then to the spool.
    async fn finish(&mut self) {
        self.database.try_again();
        self.write_all(Some(Instant::now() + self.database.patience)).await;
    }

    /// Writes the rows that wait in memory: with a deadline all, and after it to the spool.
    async fn write_all(&mut self, deadline: Option<Instant>) {
        while let Some(batch) = self.queue.take() {
            let is_too_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let outcome =
                if is_too_late { Outcome::Away } else { self.write(&batch.entries).await };
            match outcome {
                Outcome::Written(rows) => {
                    self.meters.rows.increment(rows);
                    if batch.oldest.elapsed() > LATE {
                        self.meters.late.increment(rows);
                    }
                }
                Outcome::Refused => self.lost.rows("refused", batch.count()),
                Outcome::Away => self.lost.or_kept(&mut self.spool, &batch),
            }
            // What came meanwhile waits for others: a commit costs the same for one row.
            if deadline.is_none() && !self.queue.has_many() {
                return;
            }
        }
    }

    /// Writes a batch. A queue that fills meanwhile is emptied to the spool: the database may hang.
    async fn write(&mut self, entries: &[Entry]) -> Outcome {
        let Self { database, queue, spool, wake, lost, .. } = self;
        let mut writing = std::pin::pin!(database.write(entries));
        loop {
            tokio::select! {
                biased;
                // Cancel-safe: both are gone on with.
                outcome = &mut writing => return outcome,
                () = wake.notified() => while queue.is_filling() {
                    let Some(batch) = queue.take() else { break };
                    lost.or_kept(spool, &batch);
                },
            }
        }
    }

    /// Writes what waits in the spool, as long as there is nothing else to do.
    async fn replay(&mut self) {
        while self.database.may_be_tried() && !self.queue.is_filling() {
            let record = match self.spool.next() {
                Ok(Some(record)) => record,
                Ok(None) => return,
                Err(error) => {
                    let folder = self.spool.folder().display();
                    tracing::warn!(%folder, %error, "the spool of the ledger cannot be read");
                    return;
                }
            };
            let outcome = match record.entries() {
                Ok(entries) => self.write(&entries).await,
                Err(error) => {
                    tracing::error!(%error, "a record of the spool is not one of the ledger");
                    Outcome::Refused
                }
            };
            match outcome {
                Outcome::Written(rows) => {
                    self.meters.rows.increment(rows);
                    self.meters.late.increment(rows);
                }
                Outcome::Refused => self.lost.rows("refused", record.rows),
                Outcome::Away => return,
            }
            self.spool.done();
            if self.queue.has_many() {
                self.write_all(None).await;
            }
        }
    }
}

impl Database {
    async fn write(&mut self, entries: &[Entry]) -> Outcome {
        if !self.may_be_tried() {
            return Outcome::Away;
        }
        let patience = self.patience;
        let written = time::timeout(patience, self.try_write(entries)).await;
        let why = match written {
            Ok(Ok(rows)) => {
                if self.away.take().is_some() {
                    tracing::info!("the ledger is written to the database again");
                }
                return Outcome::Written(rows);
            }
            Ok(Err(error)) if is_refusal(&error) => {
                tracing::error!(%error, "rows of the ledger are refused by the database");
                return Outcome::Refused;
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("it took longer than {patience:?}"),
        };
        // Whatever is on its way there is not waited for.
        self.connection = None;
        if self.away.replace(Instant::now() + AGAIN).is_none() {
            tracing::warn!(why, "the ledger's database is away: rows wait in the spool");
        }
        Outcome::Away
    }

    async fn try_write(&mut self, entries: &[Entry]) -> Result<u64, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.target).await?),
        };
        connection.write(entries).await
    }

    /// Whether it is there, or was away for so long that it may be back.
    fn may_be_tried(&self) -> bool {
        self.away.is_none_or(|again| Instant::now() >= again)
    }

    fn try_again(&mut self) {
        if let Some(again) = &mut self.away {
            *again = Instant::now();
        }
    }
}

impl Queue {
    /// As many rows as go together; none where none wait.
    fn take(&self) -> Option<Batch> {
        let batch = Batch::of(self.rows.try_iter().take(self.most));
        self.meters.queue.set(self.rows.len() as f64);
        batch
    }

    /// Whether there are as many rows as go together.
    fn has_many(&self) -> bool {
        self.rows.len() >= self.most
    }

    /// Whether it is half full.
    fn is_filling(&self) -> bool {
        self.rows.capacity().is_some_and(|capacity| self.rows.len() * 2 >= capacity)
    }
}

impl Lost {
    /// Keeps a batch in the spool, or counts what finds no room there as lost.
    fn or_kept(&mut self, spool: &mut Spool, batch: &Batch) {
        for (rows, json) in batch.records() {
            match spool.append(rows, &json) {
                Ok(true) => {}
                Ok(false) => self.rows("spool_full", rows),
                Err(error) => {
                    self.rows("spool_failed", rows);
                    if self.said.is_none_or(|said| said.elapsed() > QUIET) {
                        let folder = spool.folder().display();
                        tracing::error!(%folder, %error, "the spool of the ledger cannot be written");
                    }
                }
            }
        }
    }

    fn rows(&mut self, reason: &'static str, rows: u64) {
        Meters::dropped(reason, rows);
        if self.said.is_none_or(|said| said.elapsed() > QUIET) {
            self.said = Some(Instant::now());
            tracing::error!(reason, rows, "rows of the ledger are lost");
        }
    }
}
