//! A request on its way through the engine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use metrics::Gauge;
use thermograph_common::{Reservation, WorkContext};
use tokio::sync::oneshot;
use tracing::Span;

use super::{EmbedError, encoder::Vector, meters::Meters, tokenizer::TokenCount};

/// The vectors of a request.
#[derive(Debug)]
pub struct Embedded {
    /// One for each input, in their order, of length 1.
    pub vectors: Vec<Box<[f32]>>,
    /// Tokens that the model read, special ones included.
    pub tokens: usize,
    /// Tokens of each input.
    pub input_tokens: Vec<TokenCount>,
    /// Time that the stages took.
    pub timings: Timings,
}

/// Time that a request took in each stage of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Turning its inputs into tokens, summed.
    pub tokenize: Duration,
    /// Longest time that one of its inputs waited for a thread or a batch.
    pub queue: Duration,
    /// The batches that its inputs were in, summed.
    pub infer: Duration,
}

/// A request, shared by its inputs. Its lock is taken by the engine's threads only.
pub(super) struct Request {
    pub(super) span: Span,
    pub(super) context: WorkContext,
    pub(super) admitted: Instant,
    /// Set once nobody waits for the vectors.
    left: Arc<AtomicBool>,
    progress: Mutex<Progress>,
    meters: Meters,
}

/// The places of a request's inputs, which count as waiting until this is dropped.
struct Places {
    reservation: Reservation,
    waiting: Gauge,
}

/// What came of one input.
pub(super) struct Outcome {
    pub(super) vector: Vector,
    pub(super) tokens: TokenCount,
    pub(super) waited: Duration,
    pub(super) batch: Batch,
}

/// The batch that an input was in.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) infer: Duration,
}

/// Waits for the vectors; dropped, it lets the engine drop what is left of the request.
///
/// Does not keep the request itself: once the engine has let go of it, there is no answer to come.
pub(super) struct Waiting {
    left: Arc<AtomicBool>,
    answer: oneshot::Receiver<Result<Embedded, EmbedError>>,
}

struct Progress {
    vectors: Vec<Option<Vector>>,
    missing: usize,
    /// Tokens of each input.
    tokens: Vec<TokenCount>,
    timings: Timings,
    /// Number of the newest batch that counts in the timings.
    batch: Option<u64>,
    /// None once it was answered.
    answer: Option<oneshot::Sender<Result<Embedded, EmbedError>>>,
    /// None once every input has its vector. After an error inputs are left that fill them still.
    places: Option<Places>,
}

impl Request {
    pub(super) fn new(
        inputs: usize,
        places: Reservation,
        context: WorkContext,
        meters: Meters,
    ) -> (Arc<Self>, Waiting) {
        let (sender, answer) = oneshot::channel();
        let places = Places::new(places, meters.waiting.clone());
        let left = Arc::new(AtomicBool::new(false));
        let request = Arc::new(Self {
            span: Span::current(),
            context,
            admitted: Instant::now(),
            left: Arc::clone(&left),
            progress: Mutex::new(Progress::new(inputs, sender, places)),
            meters,
        });
        (request, Waiting { left, answer })
    }

    /// Whether nobody waits for the vectors any more.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    pub(super) fn tokenized(&self, elapsed: Duration) {
        self.progress(|progress| progress.timings.tokenize += elapsed);
    }

    /// Takes in the vector of an input; with the last one, answers.
    pub(super) fn complete(&self, index: usize, outcome: Outcome) {
        let finished = self.progress(|progress| progress.complete(index, outcome));
        if let Some((answer, embedded)) = finished {
            self.meters.tokenize.record(embedded.timings.tokenize);
            self.meters.queue.record(embedded.timings.queue);
            // The client may have left just now.
            let _ = answer.send(Ok(embedded));
        }
    }

    /// Answers with an error; what is left of the request will be dropped.
    pub(super) fn fail(&self, error: EmbedError) {
        self.left.store(true, Relaxed);
        if let Some(answer) = self.progress(|progress| progress.answer.take()) {
            // The client may have left just now.
            let _ = answer.send(Err(error));
        }
    }

    fn progress<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Places {
    fn new(reservation: Reservation, waiting: Gauge) -> Self {
        waiting.increment(reservation.reserved() as f64);
        Self { reservation, waiting }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.waiting.decrement(self.reservation.reserved() as f64);
    }
}

impl Progress {
    fn new(
        inputs: usize,
        answer: oneshot::Sender<Result<Embedded, EmbedError>>,
        places: Places,
    ) -> Self {
        Self {
            vectors: std::iter::repeat_with(|| None).take(inputs).collect(),
            missing: inputs,
            tokens: vec![TokenCount::default(); inputs],
            timings: Timings::default(),
            batch: None,
            answer: Some(answer),
            places: Some(places),
        }
    }

    fn complete(
        &mut self,
        index: usize,
        outcome: Outcome,
    ) -> Option<(oneshot::Sender<Result<Embedded, EmbedError>>, Embedded)> {
        let Outcome { vector, tokens, waited, batch } = outcome;
        self.vectors[index] = Some(vector);
        self.missing -= 1;
        self.tokens[index] = tokens;
        self.timings.queue = self.timings.queue.max(waited);
        if self.batch.replace(batch.number) != Some(batch.number) {
            self.timings.infer += batch.infer;
        }
        let answer = if self.missing == 0 { self.answer.take()? } else { return None };
        // Before the answer: who has it may send the next request at once, and finds room.
        self.places = None;
        let vectors = self.vectors.drain(..).flatten().collect();
        let input_tokens = std::mem::take(&mut self.tokens);
        let tokens = input_tokens.iter().map(|tokens| tokens.read).sum();
        Some((answer, Embedded { vectors, tokens, input_tokens, timings: self.timings }))
    }
}

impl Waiting {
    pub(super) async fn wait(mut self) -> Result<Embedded, EmbedError> {
        (&mut self.answer).await.unwrap_or(Err(EmbedError::Lost))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.left.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use thermograph_common::Quota;

    use super::*;

    #[tokio::test]
    async fn whoever_has_the_answer_finds_the_places_free() {
        let quota = Quota::new(2);
        let places = quota.reserve(2).expect("free");
        let (request, waiting) = Request::new(2, places, WorkContext::default(), Meters::new("m"));
        let outcome = || Outcome {
            vector: [1.0].into(),
            tokens: TokenCount { read: 3, truncated: true },
            waited: Duration::ZERO,
            batch: Batch { number: 1, infer: Duration::from_millis(1) },
        };
        request.complete(1, outcome());
        assert_eq!(quota.reserved(), 2);
        request.complete(0, outcome());
        // The engine still holds the request here, as its threads do for a moment.
        let embedded = waiting.wait().await.expect("answered");
        assert_eq!(quota.reserved(), 0);
        assert_eq!((embedded.vectors.len(), embedded.tokens), (2, 6));
        assert_eq!(embedded.input_tokens, [TokenCount { read: 3, truncated: true }; 2]);
        assert_eq!(embedded.timings.infer, Duration::from_millis(1), "one batch counts once");
    }

    #[tokio::test]
    async fn after_an_error_the_places_stay_taken_until_the_inputs_are_gone() {
        let quota = Quota::new(2);
        let places = quota.reserve(2).expect("free");
        let (request, waiting) = Request::new(2, places, WorkContext::default(), Meters::new("m"));
        request.fail(EmbedError::Failed("on purpose"));
        assert_eq!(waiting.wait().await.err(), Some(EmbedError::Failed("on purpose")));
        assert!(request.has_left());
        assert_eq!(quota.reserved(), 2);
        drop(request);
        assert_eq!(quota.reserved(), 0);
    }
}
