//! One question, asked once: who comes while it is asked waits for its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time};

use super::Key;

/// The questions that are being asked.
pub(super) struct Flights<V> {
    shards: Arc<[Shard<V>]>,
}

type Shard<V> = Mutex<HashMap<Key, watch::Receiver<State<V>>>>;

/// How it goes.
#[derive(Clone, Debug, Default)]
enum State<V> {
    /// It is being asked.
    #[default]
    Asked,
    Landed(Landing<V>),
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) enum Landing<V> {
    /// An answer for all.
    All(V),
    /// Nothing that others could have: each asks for itself.
    Alone,
}

/// What one does who has a question.
pub(super) enum Turn<V> {
    /// Asks it.
    Lead(Lead<V>),
    /// Waits for the one who does.
    Follow(Follow<V>),
}

/// Asks a question for all who have it; dropped without an answer, the next one does.
pub(super) struct Lead<V> {
    key: Key,
    sender: watch::Sender<State<V>>,
    shards: Arc<[Shard<V>]>,
    has_landed: bool,
}

/// Waits for an answer.
pub(super) struct Follow<V>(watch::Receiver<State<V>>);

/// Why there is none.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Missed {
    /// Who asked has left: somebody else must.
    Left,
    /// It took too long, or is nothing that others could have.
    Alone,
}

impl<V: Clone> Flights<V> {
    const SHARDS: usize = 64;

    pub(super) fn new() -> Self {
        Self { shards: (0..Self::SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Asks, or waits for who does.
    pub(super) fn join(&self, key: Key) -> Turn<V> {
        let mut flights = shard(&self.shards, &key);
        if let Some(asked) = flights.get(&key) {
            return Turn::Follow(Follow(asked.clone()));
        }
        let (sender, receiver) = watch::channel(State::default());
        flights.insert(key, receiver);
        let shards = Arc::clone(&self.shards);
        Turn::Lead(Lead { key, sender, shards, has_landed: false })
    }
}

impl<V> Lead<V> {
    /// Tells all who wait.
    pub(super) fn land(mut self, landing: Landing<V>) {
        // Those who come from now on find what is kept, or ask again.
        self.leave();
        self.sender.send_replace(State::Landed(landing));
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.has_landed, true) {
            shard(&self.shards, &self.key).remove(&self.key);
        }
    }
}

impl<V> Drop for Lead<V> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<V: Clone> Follow<V> {
    pub(super) async fn answer(mut self, longest: Duration) -> Result<V, Missed> {
        let landed = self.0.wait_for(|state| matches!(state, State::Landed(_)));
        match time::timeout(longest, landed).await {
            Err(_) => Err(Missed::Alone),
            Ok(Err(_)) => Err(Missed::Left),
            Ok(Ok(state)) => match &*state {
                State::Landed(Landing::All(answer)) => Ok(answer.clone()),
                State::Landed(Landing::Alone) | State::Asked => Err(Missed::Alone),
            },
        }
    }
}

fn shard<'a, V>(
    shards: &'a [Shard<V>],
    key: &Key,
) -> MutexGuard<'a, HashMap<Key, watch::Receiver<State<V>>>> {
    shards[key.shard() % shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyBuilder;

    const LONG: Duration = Duration::from_hours(1);

    fn key() -> Key {
        KeyBuilder::new("test").finish()
    }

    fn lead(flights: &Flights<u32>) -> Lead<u32> {
        match flights.join(key()) {
            Turn::Lead(lead) => lead,
            Turn::Follow(_) => panic!("somebody leads"),
        }
    }

    fn follow(flights: &Flights<u32>) -> Follow<u32> {
        match flights.join(key()) {
            Turn::Lead(_) => panic!("nobody leads"),
            Turn::Follow(follow) => follow,
        }
    }

    #[tokio::test]
    async fn all_get_what_one_asked_for() {
        let flights = Flights::new();
        let one = lead(&flights);
        let others = [(); 3].map(|()| follow(&flights));
        one.land(Landing::All(7));
        for other in others {
            assert_eq!(other.answer(LONG).await, Ok(7));
        }
        drop(lead(&flights));
    }

    #[tokio::test]
    async fn who_leaves_makes_room_for_the_next() {
        let flights = Flights::new();
        let one = lead(&flights);
        let other = follow(&flights);
        drop(one);
        assert_eq!(other.answer(LONG).await, Err(Missed::Left));
        let next = lead(&flights);
        let other = follow(&flights);
        next.land(Landing::Alone);
        assert_eq!(other.answer(LONG).await, Err(Missed::Alone));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let flights = Flights::new();
        let _one = lead(&flights);
        assert_eq!(follow(&flights).answer(Duration::from_secs(1)).await, Err(Missed::Alone));
    }
}
