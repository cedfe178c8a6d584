//! What goes with a request until its answer is over, and becomes a row then.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use thermograph_common::units::micros;
use uuid::Builder;

use super::{Ledger, Row, row};
use crate::{
    limits::{Reserved, Standing},
    request_id::RequestId,
    store::Key,
    usage::{Facts, Tally, Usage},
};

/// The status of requests whose clients left before they had their answers; nginx's.
const LEFT: u16 = 499;

/// Stands for the model of a request that was refused before it was read, or could not be.
const UNKNOWN: &str = "(unknown)";

/// A request's bill; clones are one. Where there is no ledger it is empty, and costs nothing.
#[derive(Clone, Default)]
pub(crate) struct Bill(Option<Arc<Open>>);

/// A bill whose request is on its way.
struct Open {
    ledger: Ledger,
    key: Option<Arc<Key>>,
    endpoint: &'static str,
    request_id: RequestId,
    at: Timestamp,
    began: Instant,
    model: OnceLock<Box<str>>,
    upstream: OnceLock<Arc<str>>,
    /// 0: it is not known how it ends.
    status: AtomicU16,
    usage: Mutex<Option<Usage>>,
    /// Tokens of the prompt that an upstream had when the client left.
    abandoned: AtomicU64,
    streamed: AtomicBool,
    /// The answer was kept: nobody was asked.
    cached: AtomicBool,
    /// What was reserved of its key's limits, and how the key stands.
    reserved: OnceLock<Reserved>,
    standing: OnceLock<Standing>,
}

impl Bill {
    pub(in crate::store) fn open(
        ledger: &Ledger,
        key: Option<Arc<Key>>,
        endpoint: &'static str,
        request_id: &RequestId,
    ) -> Self {
        Self(Some(Arc::new(Open {
            ledger: ledger.clone(),
            key,
            endpoint,
            request_id: request_id.clone(),
            at: Timestamp::now(),
            began: Instant::now(),
            model: OnceLock::new(),
            upstream: OnceLock::new(),
            status: AtomicU16::new(0),
            usage: Mutex::default(),
            abandoned: AtomicU64::new(0),
            streamed: AtomicBool::new(false),
            cached: AtomicBool::new(false),
            reserved: OnceLock::new(),
            standing: OnceLock::new(),
        })))
    }

    /// The model that was asked for.
    pub(crate) fn asks(&self, model: &str) {
        if let Some(open) = &self.0 {
            // The first one is the client's.
            let _ = open.model.set(row::model(model));
        }
    }

    /// Name of the upstream that answers.
    pub(crate) fn answered_by(&self, upstream: &Arc<str>) {
        if let Some(open) = &self.0 {
            // One answers.
            let _ = open.upstream.set(Arc::clone(upstream));
        }
    }

    /// The tokens that were used.
    pub(crate) fn used(&self, usage: Usage) {
        if let Some(open) = &self.0 {
            *open.usage() = Some(usage);
        }
    }

    /// The tokens that were used, as far as that is known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.0.as_ref().and_then(|open| *open.usage())
    }

    /// The client has left while an upstream had the prompt, of so many tokens.
    pub(crate) fn abandoned(&self, prompt_tokens: u64) {
        if let Some(open) = &self.0 {
            open.abandoned.store(prompt_tokens, Relaxed);
        }
    }

    /// It was answered with what is kept, which had used so many tokens: none of them is its key's.
    pub(crate) fn is_cached(&self, usage: Option<Usage>) {
        if let Some(open) = &self.0 {
            open.cached.store(true, Relaxed);
            if usage.is_some() {
                *open.usage() = usage;
            }
        }
    }

    /// Keeps what was reserved for it, to be settled when it is over.
    pub(crate) fn reserves(&self, reserved: Reserved) {
        self.stands(reserved.standing);
        if let Some(open) = &self.0 {
            // A request reserves once.
            let _ = open.reserved.set(reserved);
        }
    }

    /// How its key stands.
    pub(crate) fn stands(&self, standing: Standing) {
        if let Some(open) = &self.0 {
            // A request is judged once.
            let _ = open.standing.set(standing);
        }
    }

    /// Says how its key stands, where it has limits.
    fn tell(&self, headers: &mut HeaderMap) {
        if let Some(standing) = self.0.as_ref().and_then(|open| open.standing.get()) {
            standing.tell(headers);
        }
    }

    /// What its client is told; of a stream, at its beginning. How its key stands is said, too.
    pub(crate) fn told<B>(&self, mut response: Response<B>) -> Response<B> {
        self.ends(response.status());
        self.tell(response.headers_mut());
        response
    }

    /// How it ends.
    fn ends(&self, status: StatusCode) {
        if let Some(open) = &self.0 {
            open.status.store(status.as_u16(), Relaxed);
        }
    }

    /// Its client has left before an upstream answered.
    pub(crate) fn left(&self) {
        if let Some(open) = &self.0 {
            open.status.store(LEFT, Relaxed);
        }
    }

    /// It is passed on piece by piece, and nobody knows yet how that ends.
    pub(crate) fn streams(&self, tally: Tally) -> Streaming {
        if let Some(open) = &self.0 {
            open.streamed.store(true, Relaxed);
        }
        Streaming { bill: self.clone(), tally, is_done: false, is_over: false }
    }
}

impl Open {
    fn usage(&self) -> MutexGuard<'_, Option<Usage>> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream in flight, and the tokens that have passed. Dropping it before its end means that the
/// client has disconnected.
pub(crate) struct Streaming {
    bill: Bill,
    tally: Tally,
    /// True if the last event has passed: what comes after it, clients do not wait for.
    is_done: bool,
    is_over: bool,
}

impl Streaming {
    /// An event has passed.
    pub(crate) fn event(&mut self, facts: &Facts) {
        self.tally.event(facts);
    }

    /// The last event has passed.
    pub(crate) fn done(&mut self) {
        self.is_done = true;
    }

    /// A piece of an event has passed that is too long to be looked into as a whole; `is_last` says that
    /// the event ends with it. Returns the facts at its ends then.
    pub(crate) fn piece_of_event(&mut self, bytes: &[u8], is_last: bool) -> Option<Facts> {
        self.tally.piece_of_event(bytes, is_last)
    }

    /// A piece of an answer has passed that is no stream of events.
    pub(crate) fn piece(&mut self, bytes: &Bytes) {
        self.tally.piece(bytes);
    }

    /// The stream came to its end; returns the tokens that it has used.
    pub(crate) fn ended(&mut self) -> Usage {
        self.is_over = true;
        let usage = self.tally.ended();
        self.bill.used(usage);
        usage
    }

    /// It broke off; `status` is what would have been answered, had it done so at once.
    pub(crate) fn broke(&mut self, status: StatusCode) {
        self.is_over = true;
        self.bill.used(self.tally.broken());
        self.bill.ends(status);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.is_done {
            self.ended();
        } else if let Some(open) = &self.bill.0 {
            open.status.store(LEFT, Relaxed);
            *open.usage() = Some(self.tally.broken());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let status = match self.status.load(Relaxed) {
            0 => LEFT,
            status => status,
        };
        let cached = self.cached.load(Relaxed);
        let abandoned = self.abandoned.load(Relaxed);
        let usage = self.usage.get_mut().unwrap_or_else(PoisonError::into_inner);
        let usage = usage.unwrap_or_else(|| match status {
            LEFT if abandoned > 0 => Usage { is_estimated: true, ..Usage::of_prompt(abandoned) },
            _ => Usage::default(),
        });
        let used = if cached { 0 } else { usage.total() };
        if let Some(key) = &self.key {
            key.spend(self.at, used);
        }
        if let Some(reserved) = self.reserved.take() {
            reserved.settle(used);
        }
        let ended = Instant::now();
        let row = Row {
            id: id(self.at),
            at: self.at.as_millisecond(),
            key_id: self.key.take(),
            model: self.model.take().unwrap_or_else(|| UNKNOWN.into()),
            endpoint: self.endpoint,
            status,
            usage,
            cached,
            streamed: self.streamed.load(Relaxed),
            duration_us: micros(ended - self.began),
            upstream: self.upstream.take(),
            request_id: self.request_id.clone(),
            ended,
        };
        self.ledger.put(row);
    }
}

/// Ordered by time, so that rows which are written together stand together; the rest is by chance.
fn id(at: Timestamp) -> uuid::fmt::Hyphenated {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
    let mut chance = [0; 10];
    fastrand::fill(&mut chance);
    Builder::from_unix_timestamp_millis(millis, &chance).into_uuid().hyphenated()
}
