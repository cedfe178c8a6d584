//! Many clients that ask one after the other, streams and others in turn, until they are stopped.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use tokio::{runtime, task::JoinSet};

use super::{CHAT, Client, End, stream, whole};
use crate::support::{Server, give_way};

/// A load that goes on in a thread of its own.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What became of the requests of a load.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) ends: BTreeMap<End, u64>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    ended: AtomicU64,
    ends: Mutex<BTreeMap<End, u64>>,
}

impl Load {
    pub(crate) fn start(server: &Server, clients: usize) -> Self {
        let address = server.addresses.api;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            give_way();
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = |place| Arc::clone(&theirs).ask(Client::new(address), place);
                let clients: JoinSet<_> = (0..clients).map(client).collect();
                clients.join_all().await;
            });
        });
        Self { shared, thread }
    }

    /// Requests that have ended by now.
    pub(crate) fn ended(&self) -> u64 {
        self.shared.ended.load(Relaxed)
    }

    /// Lets every client end what it has begun.
    pub(crate) fn stop(self) -> Tally {
        self.shared.stop.store(true, Relaxed);
        self.thread.join().expect("no panic");
        let ends = self.shared.ends.lock().expect("no panic").clone();
        Tally { sent: self.shared.sent.load(Relaxed), ends }
    }
}

impl Shared {
    async fn ask(self: Arc<Self>, mut client: Client, place: usize) {
        let bodies = [whole(), stream()];
        for body in bodies.iter().cycle().skip(place % 2) {
            if self.stop.load(Relaxed) {
                return;
            }
            self.sent.fetch_add(1, Relaxed);
            let end = client.post(CHAT, body).await.end();
            *self.ends.lock().expect("no panic").entry(end).or_default() += 1;
            self.ended.fetch_add(1, Relaxed);
        }
    }
}

impl Tally {
    /// How many ended so. All must have ended in some way, and none in one that no client should
    /// see.
    pub(crate) fn count(&self, end: &End) -> u64 {
        assert_eq!(self.ends.values().sum::<u64>(), self.sent, "{self:?}");
        let lost = self.ends.keys().find(|end| matches!(end, End::Lost(_)));
        assert_eq!(lost, None, "{self:?}");
        self.ends.get(end).copied().unwrap_or_default()
    }
}
