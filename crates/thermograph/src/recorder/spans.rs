//! When spans are entered and left, on the thread that does.

use std::cell::RefCell;

use thermograph_sampler::Moment;
use tracing::{Subscriber, span};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::handlers::track;

/// Writes spans to the thread's track.
#[derive(Debug)]
pub(super) struct EnteredSpans;

/// Spans that a thread is in at a time, and that are written; those inside of them are not.
const DEPTH: usize = 64;

thread_local! {
    /// Spans that the thread is in, and since when.
    static ENTERED: RefCell<Vec<(span::Id, Moment)>> = const { RefCell::new(Vec::new()) };
}

impl<S> Layer<S> for EnteredSpans
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_enter(&self, id: &span::Id, _: Context<'_, S>) {
        // A thread that is ending writes no more.
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if entered.len() < DEPTH {
                entered.push((id.clone(), Moment::now()));
            }
        });
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        let begun = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let place = entered.iter().rposition(|(entered, _)| entered == id)?;
            // What was entered inside of it and not left was of an earlier recording.
            let begun = entered[place].1;
            entered.truncate(place);
            Some(begun)
        });
        if let (Ok(Some(start)), Some(meta)) = (begun, context.metadata(id))
            && track::is_on()
        {
            track::span(meta, start);
        }
    }
}
