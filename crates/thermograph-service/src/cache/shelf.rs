//! What is kept of one kind: in memory, then in Redis; and what is being asked for.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use moka::sync::Cache as Memory;
use redis::AsyncCommands as _;
use thermograph_common::{CpuPool, task, units::millis};
use tokio::time::{self, Instant};

use super::{
    Config, Key, Refusal, Wish,
    flight::{Flights, Follow, Landing, Lead, Missed, Turn},
    lock::{self, Asked, Lock, Remote},
    meters::Meters,
    semantic::Compared,
};
use crate::{error::ApiError, redis::Redis};

/// What can be kept.
pub(crate) trait Keep: Clone + Send + Sync + 'static {
    /// What it is called in metrics and in Redis.
    const KIND: &'static str;

    /// Bytes that it takes.
    fn size(&self) -> usize;

    /// When it was made, in milliseconds since 1970.
    fn made(&self) -> u64;

    /// As it is written into Redis.
    fn encode(&self) -> Vec<u8>;

    /// None where it is nothing that we wrote.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// What is kept of one kind; cheap to clone, all clones are one.
pub(crate) struct Shelf<V: Keep> {
    inner: Arc<Inner<V>>,
}

struct Inner<V: Keep> {
    memory: Memory<Key, V>,
    flights: Flights<Result<V, Refusal>>,
    redis: Option<Redis>,
    ttl: Duration,
    longest_wait: Duration,
    largest: usize,
    cpu: CpuPool,
    meters: Meters,
}

/// How it was had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// It was kept.
    Hit,
    /// Somebody was asking for it.
    Coalesced,
    /// One that means the same was kept: how alike they are.
    Semantic(f32),
    /// It was asked for.
    Asked,
}

/// What is there of some keys.
pub(crate) struct Looked<V: Keep> {
    /// Of each key what was found.
    pub(crate) found: Vec<Option<V>>,
    /// What is to be asked for; none where nothing is.
    pub(crate) question: Option<Question<V>>,
    /// What others ask for, and its place.
    pub(crate) others: Vec<(usize, Other<V>)>,
}

/// What somebody else asks for.
pub(crate) struct Other<V: Keep> {
    follow: Follow<Result<V, Refusal>>,
    shelf: Shelf<V>,
}

/// What is to be asked for, for all who want it; dropped, somebody else does.
pub(crate) struct Question<V: Keep> {
    shelf: Shelf<V>,
    parts: Vec<Part<V>>,
    lock: Option<Lock>,
    /// Remembers what it means, once its answer is kept.
    compared: Option<Compared>,
}

/// What is to be asked for of one key.
struct Part<V> {
    place: usize,
    key: Key,
    /// None where others do not wait for it.
    lead: Option<Lead<Result<V, Refusal>>>,
}

impl<V: Keep> Shelf<V> {
    /// First pause before Redis is asked again for what another instance asks for; then twice as
    /// long each time, up to the last.
    const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
    /// What an entry takes beside what is kept.
    const ENTRY: usize = 256;

    /// Keeps `bytes` in memory.
    pub(super) fn new(bytes: u64, config: &Config, redis: Option<Redis>, cpu: CpuPool) -> Self {
        let weigh =
            |_: &Key, value: &V| u32::try_from(value.size() + Self::ENTRY).unwrap_or(u32::MAX);
        let memory =
            Memory::builder().max_capacity(bytes).weigher(weigh).time_to_live(config.ttl).build();
        let Config { ttl, longest_wait, largest, .. } = *config;
        let largest = usize::try_from(largest.as_u64()).unwrap_or(usize::MAX);
        let (flights, meters) = (Flights::new(), Meters::new(V::KIND));
        let inner = Inner { memory, flights, redis, ttl, longest_wait, largest, cpu, meters };
        Self { inner: Arc::new(inner) }
    }

    /// Looks for what is kept; what is not is asked for by us, or by who asks already.
    pub(crate) async fn look(&self, keys: &[Key], wish: &Wish) -> Looked<V> {
        let (mut found, mut others) = (vec![None; keys.len()], Vec::new());
        let mut question =
            Question { shelf: self.clone(), parts: Vec::new(), lock: None, compared: None };
        for (place, &key) in keys.iter().enumerate() {
            if !wish.reads() {
                question.parts.push(Part { place, key, lead: None });
                continue;
            }
            found[place] = self.remembered(&key, wish);
            if found[place].is_some() {
                continue;
            }
            match self.inner.flights.join(key) {
                Turn::Follow(follow) => {
                    others.push((place, Other { follow, shelf: self.clone() }));
                }
                Turn::Lead(lead) => match self.remembered(&key, wish) {
                    // It has landed just now.
                    Some(value) => {
                        lead.land(Landing::All(Ok(value.clone())));
                        found[place] = Some(value);
                    }
                    None => question.parts.push(Part { place, key, lead: Some(lead) }),
                },
            }
        }
        self.inner.meters.memory.increment(found.iter().flatten().count() as u64);
        if wish.reads() && !question.parts.is_empty() {
            question.look_in_redis(&mut found, wish).await;
        }
        self.inner.meters.missed.increment(question.parts.len() as u64);
        Looked { found, question: Some(question).filter(|left| !left.parts.is_empty()), others }
    }

    /// Looks for many, and has `ask` asked for what is not there, by its places; and how many were.
    pub(crate) async fn many<F>(
        &self,
        keys: &[Key],
        wish: &Wish,
        ask: impl Fn(Vec<usize>) -> F,
    ) -> Result<(Vec<V>, usize), Refusal>
    where
        F: Future<Output = Result<Vec<V>, Refusal>>,
    {
        let mut all: Vec<Option<V>> = vec![None; keys.len()];
        let mut had = 0;
        loop {
            let left: Vec<_> = (0..keys.len()).filter(|place| all[*place].is_none()).collect();
            if left.is_empty() {
                return Ok((all.into_iter().flatten().collect(), had));
            }
            let left_keys: Vec<_> = left.iter().map(|place| keys[*place]).collect();
            let Looked { found, question, others } = self.look(&left_keys, wish).await;
            for (place, value) in left.iter().zip(found) {
                had += usize::from(value.is_some());
                all[*place] = value;
            }
            if wish.only_kept && (question.is_some() || !others.is_empty()) {
                return Err(ApiError::not_kept().into());
            }
            // What we ask for first: others may wait for it, and we for what they ask for.
            if let Some(question) = question {
                let places: Vec<_> = question.places().map(|place| left[place]).collect();
                let values = question.ask(ask(places.clone())).await?;
                fill(&mut all, &places, values);
            }
            let mut alone = Vec::new();
            for (place, other) in others {
                match other.wait().await? {
                    Waited::Had(value) => {
                        had += 1;
                        all[left[place]] = Some(value);
                    }
                    // It is looked for again.
                    Waited::Left => {}
                    Waited::Alone => alone.push(left[place]),
                }
            }
            if !alone.is_empty() {
                let values = ask(alone.clone()).await?;
                fill(&mut all, &alone, values);
            }
        }
    }

    /// Of one key what is kept or what an equal question is answered; else it is to be asked for.
    pub(crate) async fn one(&self, key: Key, wish: &Wish) -> Result<One<V>, Refusal> {
        loop {
            if let Some(value) = self.at_hand(&key, wish) {
                return Ok(One::Had(value, Way::Hit));
            }
            let Looked { found, question, others } = self.look(&[key], wish).await;
            if let Some(value) = found.into_iter().flatten().next() {
                return Ok(One::Had(value, Way::Hit));
            }
            if let Some(question) = question {
                return Ok(One::Missing(question));
            }
            for (place, other) in others {
                match other.wait().await? {
                    Waited::Had(value) => return Ok(One::Had(value, Way::Coalesced)),
                    // It is looked for again.
                    Waited::Left => {}
                    Waited::Alone => {
                        let parts = vec![Part { place, key, lead: None }];
                        let question =
                            Question { shelf: self.clone(), parts, lock: None, compared: None };
                        return Ok(One::Missing(question));
                    }
                }
            }
        }
    }

    /// What is in memory of one key, if it may be given.
    pub(crate) fn at_hand(&self, key: &Key, wish: &Wish) -> Option<V> {
        let value = if wish.reads() { self.remembered(key, wish) } else { None };
        self.inner.meters.memory.increment(u64::from(value.is_some()));
        value
    }

    /// What is kept by this key, in memory or in Redis; nobody is asked for it.
    pub(crate) async fn kept(&self, key: Key, wish: &Wish) -> Option<V> {
        let remembered = self.remembered(&key, wish);
        let (None, Some(redis)) = (&remembered, &self.inner.redis) else { return remembered };
        let name = redis.key(V::KIND, &key.to_string());
        let bytes: Option<Vec<u8>> =
            redis.ask(|mut connection| async move { connection.get(name).await }).await.ok()?;
        let value = self.read(&bytes?).filter(|value| self.is_fresh(value, wish))?;
        self.remember(key, value.clone());
        Some(value)
    }

    /// What is in memory, if it is as new as it must be.
    fn remembered(&self, key: &Key, wish: &Wish) -> Option<V> {
        self.inner.memory.get(key).filter(|value| self.is_fresh(value, wish))
    }

    /// Keeps it in memory.
    fn remember(&self, key: Key, value: V) {
        let Inner { memory, largest, meters, .. } = &*self.inner;
        if value.size() > *largest {
            meters.too_large.increment(1);
            return;
        }
        memory.insert(key, value);
        meters.bytes.set(memory.weighted_size() as f64);
        meters.entries.set(memory.entry_count() as f64);
    }

    fn is_fresh(&self, value: &V, wish: &Wish) -> bool {
        let age = age(value.made());
        age < self.inner.ttl && wish.max_age.is_none_or(|most| age < most)
    }
}

/// What is there of one key.
pub(crate) enum One<V: Keep> {
    Had(V, Way),
    /// It is to be asked for.
    Missing(Question<V>),
}

/// What came of waiting for others.
enum Waited<V> {
    Had(V),
    /// Who asked has left.
    Left,
    /// It is nothing that others could have, or took too long.
    Alone,
}

impl<V: Keep> Other<V> {
    async fn wait(self) -> Result<Waited<V>, Refusal> {
        let Self { follow, shelf } = self;
        match follow.answer(shelf.inner.longest_wait).await {
            Ok(answer) => {
                shelf.inner.meters.coalesced.increment(1);
                answer.map(Waited::Had)
            }
            Err(Missed::Left) => Ok(Waited::Left),
            Err(Missed::Alone) => Ok(Waited::Alone),
        }
    }
}

impl<V: Keep> Question<V> {
    /// Which of the keys it is about.
    fn places(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.place)
    }

    /// Asks, and tells all who wait.
    async fn ask(
        self,
        answers: impl Future<Output = Result<Vec<V>, Refusal>>,
    ) -> Result<Vec<V>, Refusal> {
        let answers = answers.await;
        match &answers {
            Ok(values) => self.answer(values.clone()),
            // A refusal does not say which value is at fault, and others may wait for a good one.
            Err(refusal) if refusal.is_of_the_request() => self.leave_alone(),
            Err(refusal) => self.refuse(refusal),
        }
        answers
    }

    /// Keeps the answers, one for each key, and tells all who wait.
    pub(crate) fn answer(self, values: Vec<V>) {
        let Self { shelf, parts, lock, compared } = self;
        if let (Some(compared), [part]) = (compared, &*parts) {
            compared.keep(part.key);
        }
        let mut to_write = Vec::new();
        for (part, value) in parts.into_iter().zip(values) {
            if shelf.inner.redis.is_some() && value.size() <= shelf.inner.largest {
                to_write.push((part.key, value.clone()));
            }
            // First: who comes when nobody asks any more must find it.
            shelf.remember(part.key, value.clone());
            if let Some(lead) = part.lead {
                lead.land(Landing::All(Ok(value)));
            }
        }
        if let Some(redis) = shelf.inner.redis.clone().filter(|_| !to_write.is_empty()) {
            task::spawn("cache write", async move {
                shelf.write(&redis, to_write).await;
                // Who waits elsewhere finds it now.
                drop(lock);
            });
        }
    }

    /// Tells all who wait that there is no answer; this is not kept.
    pub(crate) fn refuse(self, refusal: &Refusal) {
        for lead in self.parts.into_iter().filter_map(|part| part.lead) {
            lead.land(Landing::All(Err(refusal.clone())));
        }
    }

    /// Tells all who wait that what came is nothing for them.
    pub(crate) fn leave_alone(self) {
        for lead in self.parts.into_iter().filter_map(|part| part.lead) {
            lead.land(Landing::Alone);
        }
    }

    /// Its answer will do for those who mean the same.
    pub(crate) fn is_compared(&mut self, compared: Compared) {
        self.compared = Some(compared);
    }

    /// Largest answer that is kept.
    pub(crate) fn largest(&self) -> usize {
        self.shelf.inner.largest
    }

    /// Threads for what takes long.
    pub(super) fn cpu(&self) -> &CpuPool {
        &self.shelf.inner.cpu
    }

    /// Looks in Redis for what is not in memory, and waits for what another instance asks for.
    async fn look_in_redis(&mut self, found: &mut [Option<V>], wish: &Wish) {
        let Shelf { inner } = self.shelf.clone();
        let Some(redis) = &inner.redis else { return };
        let keys: Vec<_> = self.parts.iter().map(|part| part.key).collect();
        let lock = redis.key(V::KIND, &format!("{}:lock", Key::of_all(&keys)));
        let until = Instant::now() + inner.longest_wait;
        let [mut pause, longest] = Shelf::<V>::PAUSES;
        let mut has_waited = false;
        loop {
            let names = self.parts.iter().map(|part| redis.key(V::KIND, &part.key.to_string()));
            let names: Vec<_> = names.collect();
            let Ok(Remote { values, asked }) = lock::find(redis, &names, &lock).await else {
                return;
            };
            let before = self.parts.len();
            self.take(found, values, wish);
            let meters = &inner.meters;
            let counter = if has_waited { &meters.coalesced } else { &meters.redis };
            counter.increment((before - self.parts.len()) as u64);
            match asked {
                Asked::Here(lock) => self.lock = Some(lock),
                Asked::Elsewhere if !self.parts.is_empty() && Instant::now() + pause < until => {
                    // Those who wait do not all come at once.
                    time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    (pause, has_waited) = ((pause * 2).min(longest), true);
                    continue;
                }
                Asked::Nobody | Asked::Elsewhere => {}
            }
            return;
        }
    }

    /// Takes in what Redis has.
    fn take(&mut self, found: &mut [Option<V>], values: Vec<Option<Vec<u8>>>, wish: &Wish) {
        let mut values = values.into_iter();
        let kept = self.shelf.clone();
        let parts = std::mem::take(&mut self.parts);
        for part in parts {
            let value = values.next().flatten().and_then(|bytes| kept.read(&bytes));
            let Some(value) = value.filter(|value| kept.is_fresh(value, wish)) else {
                self.parts.push(part);
                continue;
            };
            kept.remember(part.key, value.clone());
            if let Some(lead) = part.lead {
                lead.land(Landing::All(Ok(value.clone())));
            }
            found[part.place] = Some(value);
        }
    }
}

impl<V: Keep> Shelf<V> {
    fn read(&self, bytes: &[u8]) -> Option<V> {
        let value = V::decode(bytes);
        self.inner.meters.corrupt.increment(u64::from(value.is_none()));
        value
    }

    async fn write(&self, redis: &Redis, values: Vec<(Key, V)>) {
        let ttl = millis(self.inner.ttl);
        let mut commands = redis::pipe();
        for (key, value) in &values {
            let name = redis.key(V::KIND, &key.to_string());
            commands.cmd("SET").arg(name).arg(value.encode()).arg("PX").arg(ttl).ignore();
        }
        let written: Result<(), _> = redis
            .ask(|mut connection| async move { commands.query_async(&mut connection).await })
            .await;
        if written.is_err() {
            self.inner.meters.not_written.increment(values.len() as u64);
        }
    }
}

impl<V: Keep> Clone for Shelf<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

fn fill<V>(all: &mut [Option<V>], places: &[usize], values: Vec<V>) {
    places.iter().zip(values).for_each(|(place, value)| all[*place] = Some(value));
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// How long ago that was.
pub(crate) fn age(made: u64) -> Duration {
    Duration::from_millis(now().saturating_sub(made))
}

#[cfg(test)]
mod tests;
