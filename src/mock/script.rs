//! Streams, event by event.

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use serde_json::Value;

/// The events of a stream, made as they are asked for.
#[derive(Debug)]
pub(super) struct Script {
    events: Box<dyn Events>,
    /// Ends before this token, without the events after it; `None` if it goes on to its end.
    until: Option<usize>,
    next: Option<Step>,
}

/// The events of one kind of stream.
pub(super) trait Events: fmt::Debug + Send {
    /// Steps before the first token, at each token, and after the last.
    fn steps(&self) -> Steps;

    /// About how many bytes the events of a step have, and hardly ever less.
    fn size(&self) -> usize;

    /// Writes the events of a step.
    fn write(&self, step: Step, out: &mut BytesMut);
}

/// Numbers of steps; there is at least one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) before: usize,
    pub(super) tokens: usize,
    pub(super) after: usize,
}

/// A step of a stream, by its place among those of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Before(usize),
    Token(usize),
    After(usize),
}

impl Script {
    pub(super) fn new(events: impl Events + 'static) -> Self {
        let first = if events.steps().before > 0 { Step::Before(0) } else { Step::Token(0) };
        Self { events: Box::new(events), until: None, next: Some(first) }
    }

    /// Ends after so many tokens at the latest, and before its end.
    pub(super) fn stop_after(&mut self, tokens: usize) {
        let until = tokens.min(self.events.steps().tokens);
        self.until = Some(until);
        if self.next == Some(Step::Token(until)) {
            self.next = None;
        }
    }

    /// About how many bytes all events have, and hardly ever less.
    pub(super) fn size(&self) -> usize {
        let Steps { before, tokens, after } = self.events.steps();
        self.events.size() * (before + tokens + after)
    }

    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Returns whether the next step is a token with another before it.
    pub(super) fn is_between_tokens(&self) -> bool {
        matches!(self.next, Some(Step::Token(1..)))
    }

    /// Writes the events of the next step, if there is one.
    pub(super) fn write(&mut self, out: &mut BytesMut) {
        let Some(step) = self.next else { return };
        self.next = self.following(step);
        self.events.write(step, out);
    }

    fn following(&self, step: Step) -> Option<Step> {
        let Steps { before, tokens, after } = self.events.steps();
        let next = match step {
            Step::Before(index) if index + 1 < before => Step::Before(index + 1),
            Step::Before(_) => Step::Token(0),
            Step::Token(index) if index + 1 < tokens => Step::Token(index + 1),
            Step::Token(_) if self.until.is_some() => return None,
            Step::Token(_) if after > 0 => Step::After(0),
            Step::After(index) if index + 1 < after => Step::After(index + 1),
            Step::Token(_) | Step::After(_) => return None,
        };
        let stops = self.until.is_some_and(|until| next == Step::Token(until));
        (!stops).then_some(next)
    }
}

/// Writes an event that has a name: its `type`.
pub(super) fn named(out: &mut BytesMut, event: &Value) {
    out.put_slice(b"event: ");
    out.put_slice(event["type"].as_str().unwrap_or_default().as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(event.to_string().as_bytes());
    out.put_slice(b"\n\n");
}
