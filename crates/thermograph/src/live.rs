//! What happens now, told to whoever looks.
//!
//! One producer for all viewers, so that ten cost as much as one; it runs on the runtime that
//! answers them, and while somebody looks. Ten times a second it tells what each worker does
//! (`lanes`), once a second what each handler costs (`ledger`), and stalls as they are found and
//! as they end (`stall`). A viewer that is too slow misses some, and is told how many.
//!
//! It keeps nothing: what was before somebody looked, the ledger and the stalls know.

mod figures;
mod lanes;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
    },
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::BroadcastStream;

use self::{figures::Figures, lanes::Lanes};
use super::{log, stall::Record};
use crate::instance::Instance;

/// What is told live, by one runtime.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    instance: Instance,
    news: broadcast::Sender<News>,
    seats: Arc<Semaphore>,
    /// The task that makes the news, while somebody looks.
    producer: Mutex<Option<JoinHandle<()>>>,
}

/// One thing that is told, made once for all who hear it.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) event: &'static str,
    /// Number of the stall that it is about.
    pub(crate) id: Option<u64>,
    /// JSON.
    pub(crate) data: Arc<str>,
}

/// A viewer's place and what it hears, until dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) news: BroadcastStream<News>,
    pub(crate) taken: OwnedSemaphorePermit,
}

/// What the producer looks at.
#[derive(Debug)]
struct Look {
    lanes: Lanes,
    figures: Figures,
    /// Until the figures are told again.
    rounds: u32,
}

/// Time between two looks at the workers.
const TICK: Duration = Duration::from_millis(100);
/// Looks at the workers for one at the ledger.
const ROUNDS: u32 = 10;
/// News that wait for a viewer that is slow: some seconds' worth.
const WAITING: usize = 256;

impl Live {
    /// Most viewers at a time.
    pub(crate) const SEATS: usize = 16;

    pub(crate) fn new(instance: &Instance) -> Self {
        let shared = Shared {
            instance: instance.clone(),
            news: broadcast::Sender::new(WAITING),
            seats: Arc::new(Semaphore::new(Self::SEATS)),
            producer: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets a viewer in, and has the news made from now on; none where all places are taken.
    pub(crate) fn sit(&self) -> Option<Seat> {
        let shared = &self.shared;
        let taken = Arc::clone(&shared.seats).try_acquire_owned().ok()?;
        // Under the lock that the producer takes to see whether anybody is there.
        let mut producer = shared.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let news = BroadcastStream::new(shared.news.subscribe());
        if producer.as_ref().is_none_or(JoinHandle::is_finished) {
            *producer = Some(tokio::spawn(produce(Arc::clone(shared))));
        }
        Some(Seat { news, taken })
    }
}

impl Shared {
    /// Whether nobody looks any more, so that the producer is over.
    fn is_over(&self) -> bool {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = self.news.receiver_count() == 0;
        if is_over {
            *producer = None;
        }
        is_over
    }

    fn tell(&self, news: News) {
        // They may all have left just now.
        let _ = self.news.send(news);
    }
}

async fn produce(shared: Arc<Shared>) {
    let mut stalls = shared.instance.stalls.store().subscribe();
    let mut look = Look::new(&shared.instance);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Cancel-safe: a tick that is not taken stays.
            _ = ticks.tick() => {
                if shared.is_over() {
                    return;
                }
                // With many handlers and workers it takes some milliseconds.
                let looked = tokio::task::spawn_blocking(move || {
                    let news = look.round();
                    (look, news)
                });
                let news;
                (look, news) = match looked.await {
                    Ok(looked) => looked,
                    Err(error) => {
                        return log::submit(move || {
                            tracing::error!(%error, "live event stream stopped");
                        });
                    }
                };
                for news in news {
                    shared.tell(news);
                }
            }
            // Cancel-safe: what was not received stays.
            record = stalls.recv() => match record {
                Ok(record) => shared.tell(News::of_stall(&record)),
                Err(RecvError::Lagged(missed)) => shared.tell(News::new("missed", &missed)),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

impl Look {
    fn new(instance: &Instance) -> Self {
        Self { lanes: Lanes::new(instance.ledger), figures: Figures::new(instance), rounds: 0 }
    }

    fn round(&mut self) -> Vec<News> {
        let mut news = vec![News::new("lanes", &self.lanes.look())];
        if self.rounds == 0 {
            self.rounds = ROUNDS;
            news.push(News::new("ledger", &self.figures.look()));
        }
        self.rounds -= 1;
        news
    }
}

impl News {
    fn new(event: &'static str, data: &impl Serialize) -> Self {
        // Maps with names for keys, lists and numbers: they always are JSON.
        let data = serde_json::to_string(data).unwrap_or_default();
        Self { event, id: None, data: data.into() }
    }

    fn of_stall(record: &Record) -> Self {
        Self { id: Some(record.id), ..Self::new("stall", &record.stall()) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::{Thermograph, config::ConsoleMode};

    fn live() -> Live {
        let thermograph = Thermograph::builder().console(ConsoleMode::Off).build();
        Live::new(&thermograph.expect("valid").instance)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    async fn next(seat: &mut Seat) -> News {
        seat.news.next().await.expect("no end").expect("none missed")
    }

    #[test]
    fn all_viewers_hear_the_same_news_made_once() {
        block_on(async {
            let live = live();
            let (mut one, mut other) = (live.sit().expect("a seat"), live.sit().expect("a seat"));
            for event in ["lanes", "ledger", "lanes"] {
                let (one, other) = (next(&mut one).await, next(&mut other).await);
                assert_eq!(one.event, event);
                assert!(Arc::ptr_eq(&one.data, &other.data), "{one:?} {other:?}");
            }
        });
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        block_on(async {
            let live = live();
            let mut seats: Vec<_> = (0..Live::SEATS).filter_map(|_| live.sit()).collect();
            assert_eq!(seats.len(), Live::SEATS);
            assert!(live.sit().is_none());
            seats.pop();
            assert!(live.sit().is_some());
        });
    }

    #[test]
    fn nothing_runs_while_nobody_looks_and_the_next_viewer_hears_again() {
        block_on(async {
            let live = live();
            for _ in 0..2 {
                let mut seat = live.sit().expect("a seat");
                assert_eq!(next(&mut seat).await.event, "lanes");
                drop(seat);
                let is_over = || live.shared.producer.lock().expect("no panic").is_none();
                while !is_over() {
                    tokio::time::sleep(TICK / 10).await;
                }
            }
        });
    }

    #[test]
    fn a_producer_whose_runtime_ended_is_made_anew() {
        let live = live();
        for _ in 0..2 {
            // It is dropped in the midst of its work.
            block_on(async {
                let mut seat = live.sit().expect("a seat");
                assert_eq!(next(&mut seat).await.event, "lanes");
            });
        }
    }
}
