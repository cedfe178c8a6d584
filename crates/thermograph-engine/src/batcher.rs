//! The thread that makes batches of what waits, and runs the model on them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Acquire},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use super::{
    EmbedError,
    encoder::{Encoder, Vector},
    meters::Meters,
    part::Part,
    pending::{Entry, Pending},
    request::{Batch, Outcome, Request},
    tokenizer::TokenCount,
};

/// What the thread is told.
pub(super) enum Message {
    /// Inputs that have been tokenized.
    Inputs(Vec<Entry>),
    /// To end.
    Stop,
}

/// Makes batches and runs them, until told to stop.
pub(super) struct Batcher {
    pub(super) encoder: Encoder,
    pub(super) messages: Receiver<Message>,
    pub(super) pending: Pending,
    /// Inputs admitted but not tokenized yet: worth a short wait.
    pub(super) upcoming: Arc<AtomicUsize>,
    pub(super) wait: Duration,
    pub(super) meters: Meters,
    /// Batches so far.
    pub(super) batches: u64,
}

/// What came of a look at the messages.
#[derive(PartialEq)]
enum Gathered {
    Something,
    Stopped,
}

impl Batcher {
    pub(super) fn run(mut self) {
        while self.gather() == Gathered::Something {
            let left = self.pending.drop_left();
            self.meters.dropped.increment(left as u64);
            let batch = self.pending.take();
            if !batch.is_empty() {
                self.work(&batch);
            }
        }
    }

    /// Waits for inputs, and then a little for more while more are on their way.
    fn gather(&mut self) -> Gathered {
        if self.pending.is_empty() && !self.take_in(self.messages.recv().ok()) {
            return Gathered::Stopped;
        }
        let Some(first) = self.pending.first() else { return Gathered::Something };
        let queue = tracing::debug_span!(parent: &first.span, "queue");
        let _queue = queue.enter();
        let until = Instant::now() + self.wait;
        loop {
            let message = match self.messages.try_recv() {
                Ok(message) => Some(message),
                Err(error) if error.is_disconnected() => None,
                Err(_) if self.pending.is_plenty() || self.upcoming.load(Acquire) == 0 => break,
                Err(_) => match self.messages.recv_deadline(until) {
                    Ok(message) => Some(message),
                    Err(error) if error.is_timeout() => break,
                    Err(_) => None,
                },
            };
            if !self.take_in(message) {
                return Gathered::Stopped;
            }
        }
        Gathered::Something
    }

    /// Whether to go on.
    fn take_in(&mut self, message: Option<Message>) -> bool {
        match message {
            Some(Message::Inputs(entries)) => {
                self.pending.push(entries);
                true
            }
            Some(Message::Stop) | None => false,
        }
    }

    fn work(&mut self, batch: &[Entry]) {
        let start = Instant::now();
        let ids: Vec<_> = batch.iter().map(|entry| entry.ids.as_slice()).collect();
        // A batch has many requests, a span one parent and a thread one context: any of theirs.
        let Request { span, context, .. } = &*batch[0].request;
        let parts = self.encoder.divide(&ids);
        let vectors = span.in_scope(|| {
            // A fault in one batch must not end the service.
            catch_unwind(AssertUnwindSafe(|| self.encoder.encode(&parts, context)))
        });
        let infer = start.elapsed();
        self.batches += 1;
        self.measure(&ids, &parts, infer);
        match vectors {
            Ok(Ok(vectors)) => self.complete(batch, vectors, start, infer),
            Ok(Err(error)) => {
                tracing::error!(%error, inputs = batch.len(), "a batch failed");
                self.fail(batch);
            }
            // The panic hook has reported it.
            Err(_) => self.fail(batch),
        }
    }

    fn complete(&self, batch: &[Entry], vectors: Vec<Vector>, start: Instant, infer: Duration) {
        self.meters.inputs.increment(batch.len() as u64);
        let number = self.batches;
        for (entry, vector) in batch.iter().zip(vectors) {
            let Entry { request, index, ids, truncated, tokenize } = entry;
            let passed = start.saturating_duration_since(request.admitted);
            let waited = passed.saturating_sub(*tokenize);
            let tokens = TokenCount { read: ids.len(), truncated: *truncated };
            let outcome = Outcome { vector, tokens, waited, batch: Batch { number, infer } };
            request.complete(*index, outcome);
        }
    }

    fn fail(&self, batch: &[Entry]) {
        self.meters.failed.increment(batch.len() as u64);
        for entry in batch {
            entry.request.fail(EmbedError::Failed("the model failed on the batch"));
        }
    }

    fn measure(&self, ids: &[&[u32]], parts: &[Part], infer: Duration) {
        let tokens: usize = ids.iter().map(|ids| ids.len()).sum();
        let padded: usize = parts.iter().map(Part::tokens).sum();
        self.meters.infer.record(infer);
        self.meters.batch_inputs.record(ids.len() as f64);
        self.meters.batch_tokens.record(padded as f64);
        self.meters.tokens.increment(tokens as u64);
        self.meters.padding.increment((padded - tokens) as u64);
    }
}
