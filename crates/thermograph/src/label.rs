//! The handler's name for work that a handler hands on.
//!
//! A handler is known by the polls of its future and of its body. What it gives to another task or
//! to a blocking thread is polled elsewhere, and is nobody's there. A label takes the name along:
//!
//! ```no_run
//! use thermograph::label;
//!
//! # fn count(text: &str) -> usize { text.len() }
//! # async fn store(words: usize) {}
//! async fn handler(text: String) {
//!     let words = tokio::task::spawn_blocking(label::blocking(move || count(&text)));
//!     tokio::spawn(label::future(async {
//!         store(words.await.unwrap_or(0)).await;
//!     }));
//! }
//! ```
//!
//! The name is that of the handler at work where the label is made: make it in the handler, not in
//! the task. Where no handler is at work, a label does nothing.
//!
//! The runtime's hooks (`Thermograph::hooks`, with `tokio_unstable`) know the handler of every task
//! that is spawned, so that its stalls have a name without a label; a labelled task's polls are
//! counted in the handler's row too. Hooks never see `spawn_blocking`: only [`blocking`] names that.
//!
//! Where one route does many kinds of work, as a GraphQL or JSON-RPC endpoint does,
//! [`name_request`] tells them apart.
//!
//! A future that its handler awaits itself needs no label: its polls are the handler's already, and
//! would count twice.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use thermograph_sampler::{Moment, Slot, WorkId};

use crate::{
    handlers::{self, Handler},
    stage::Stage,
    watch::{self, Mark},
};

pin_project! {
    /// A future that is polled in the name of a handler; made by [`future`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Labelled<F> {
        #[pin]
        inner: F,
        // None where no handler was at work.
        handler: Option<&'static Handler>,
        // When it was first polled.
        began: Option<Moment>,
        mark: Mark,
    }
}

/// Names a future after the handler that is at work: each poll counts as one of the handler's, and
/// one that takes too long is the handler's stall.
pub fn future<F: Future>(future: F) -> Labelled<F> {
    // A task's own row has no counts; where there are hooks, they name what it spawns.
    let handler = Handler::at_work_on(Slot::current()).filter(|handler| !handler.is_task());
    Labelled { inner: future, handler, began: None, mark: Mark::default() }
}

/// Names the work of the request that is at work here, such as the operation of a GraphQL query or
/// the method of a JSON-RPC call, and returns whether it did.
///
/// From then on the request has a row of its own: `POST /graphql` named `users` is counted, sampled
/// and diagnosed as `POST /graphql#users`, the poll that lasts included. The last name given is
/// the one that stays. It is for code that runs in the handler or in a middleware inside the layer;
/// in a spawned task, on another thread, or outside of a request it does nothing.
///
/// Names must come from the app, not from the client: each handler can have 64, and further ones
/// share the row `#(other)`. They end at 200 characters.
///
/// ```no_run
/// use axum::{Json, Router, routing::post};
/// use serde_json::{Value, json};
/// use thermograph::label;
///
/// # async fn block_number() -> Value { json!(7) }
/// async fn rpc(Json(call): Json<Value>) -> Json<Value> {
///     let result = match call["method"].as_str() {
///         Some("eth_blockNumber") => {
///             label::name_request("eth_blockNumber");
///             block_number().await
///         }
///         // Of a name that the client made up there is no row.
///         _ => return Json(json!({"error": {"code": -32601, "message": "method not found"}})),
///     };
///     Json(json!({"result": result}))
/// }
///
/// let app: Router = Router::new().route("/rpc", post(rpc));
/// ```
pub fn name_request(name: &str) -> bool {
    handlers::name(name)
}

/// Names a closure after the handler that is at work: CPU samples of the thread that runs it have
/// the handler's route.
///
/// It is no poll, and so never counts as one and never stalls: a thread that may block does. Each
/// thread that runs such a closure keeps one of 256 places until it ends; past that, samples of
/// further threads have no route.
pub fn blocking<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let handler = Handler::at_work_on(Slot::current());
    move || {
        let _lent = handler.and_then(Lent::begin);
        work()
    }
}

/// The handler that is at work here, for threads that work for many handlers by turns.
pub fn here() -> Label {
    Label(Handler::at_work_on(Slot::current()))
}

/// A handler's name; made by [`here`].
#[derive(Clone, Copy, Debug)]
pub struct Label(Option<&'static Handler>);

impl Label {
    /// Puts the name on this thread, until another is put on it: CPU samples of the thread have the
    /// handler's route.
    ///
    /// For a pool of threads that take what comes: [`blocking`] names one closure, and takes the name
    /// back. Inside of a poll it does nothing.
    pub fn put_on(self) {
        let slot = Slot::current();
        if !slot.is_polling() {
            slot.lend(self.0.and_then(Handler::number));
        }
    }
}

impl<F: Future> Future for Labelled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(handler) = *this.handler else { return this.inner.poll(cx) };
        let start = Moment::now();
        let began = *this.began.get_or_insert(start);
        // Written down when dropped, after a panic too.
        let poll = handlers::Poll::begin(handler, start);
        this.mark.labelled(poll.slot());
        let polled = watch::traced(cx, |cx| this.inner.poll(cx));
        drop(poll);
        if polled.is_pending() {
            this.mark.waits(Stage::Labelled, None, began, cx.waker());
        }
        polled
    }
}

/// A name that a thread has until this is dropped.
struct Lent {
    slot: Slot,
    before: Option<WorkId>,
}

impl Lent {
    fn begin(handler: &'static Handler) -> Option<Self> {
        let slot = Slot::current();
        // Inside of a poll the thread has a name, and a stall would get the wrong one.
        (!slot.is_polling()).then(|| Self { slot, before: slot.lend(handler.number()) })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.slot.lend(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::{panic, task::Waker, thread, time::Duration};

    use http::Method;

    use super::*;
    use crate::handlers::Ledger;

    /// A handler of a ledger whose polls are stalls from 5 ms on.
    fn handler() -> (&'static Ledger, &'static Handler) {
        let ledger = Ledger::leak_with(4, Duration::from_millis(5));
        (ledger, ledger.handler(ledger.hint(), &Method::GET, Some("/a")))
    }

    /// What is made while the handler is at work.
    fn in_handler<T>(handler: &'static Handler, work: impl FnOnce() -> T) -> T {
        let poll = handlers::Poll::begin(handler, Moment::now());
        let made = work();
        poll.leave();
        made
    }

    fn route() -> Option<&'static str> {
        Handler::at_work_on(Slot::current()).map(|handler| &*handler.route)
    }

    #[test]
    fn a_future_is_polled_in_the_handler_s_name() {
        let (ledger, handler) = handler();
        let blocks = || {
            future(async {
                thread::sleep(Duration::from_millis(10));
                (route(), Slot::current().is_polling())
            })
        };
        let labelled = in_handler(handler, blocks);
        let polled = thread::spawn(move || {
            let polled = Box::pin(labelled).as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!((route(), Slot::current().is_polling()), (None, false));
            polled
        });
        let Poll::Ready(seen) = polled.join().expect("no panic") else { panic!("it is ready") };
        assert_eq!(seen, (Some("/a"), true));
        let row = &ledger.report().handlers[0];
        assert_eq!((row.polls, row.requests), (1, 0));
        let stall = ledger.overruns().next_ended().expect("a stall");
        assert!(std::ptr::eq(stall.handler, handler));
    }

    #[test]
    fn a_future_of_nobody_is_nobody_s() {
        let polled = thread::spawn(|| {
            let labelled = future(async { (route(), Slot::current().is_polling()) });
            Box::pin(labelled).as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        assert_eq!(polled.join().expect("no panic"), Poll::Ready((None, false)));
    }

    #[test]
    fn a_closure_lends_the_name_and_gives_it_back() {
        let (ledger, handler) = handler();
        let work = in_handler(handler, || {
            blocking(|| {
                thread::sleep(Duration::from_millis(10));
                (route(), Slot::current().is_polling())
            })
        });
        let breaks = in_handler(handler, || blocking(|| panic!("on purpose")));
        thread::spawn(move || {
            assert_eq!(work(), (Some("/a"), false));
            assert_eq!(route(), None);
            assert!(panic::catch_unwind(panic::AssertUnwindSafe(breaks)).is_err());
            assert_eq!(route(), None);
        })
        .join()
        .expect("no panic");
        assert!(ledger.report().handlers.is_empty());
        assert!(ledger.overruns().next_ended().is_none());
    }

    #[test]
    fn inside_of_a_poll_the_poll_s_name_stays() {
        let (ledger, handler) = handler();
        let other = ledger.handler(ledger.hint(), &Method::GET, Some("/other"));
        let work = in_handler(handler, || blocking(route));
        assert_eq!(in_handler(other, work), Some("/other"));
    }
}
