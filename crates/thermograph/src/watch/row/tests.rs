//! What a console's layer is told of requests, by a layer that writes it down.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    future::{self, Future as _, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tower_service::Service as _;
use tracing::{
    Event, Subscriber, field, level_filters::LevelFilter, span, subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, layer::Context as LayerContext, layer::SubscriberExt as _, registry::LookupSpan,
};

use super::super::WatchLayer;
use crate::handlers::{Attached, Ledger};

/// What was told.
#[derive(Default)]
struct Told {
    rows: Vec<Row>,
    /// Of the wakers of all of them.
    ops: Vec<String>,
}

/// Of one row.
#[derive(Clone, Debug, Default)]
struct Row {
    number: u64,
    fields: HashMap<&'static str, String>,
    polls: usize,
    is_entered: bool,
    is_closed: bool,
}

/// Writes down what the console's layer would be told.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Told>>);

impl Recorder {
    fn with<T>(&self, id: &span::Id, change: impl FnOnce(&mut Row) -> T) -> Option<T> {
        let mut told = self.0.lock().expect("no panic");
        told.rows.iter_mut().find(|row| row.number == id.into_u64()).map(change)
    }

    /// Tokio's own too.
    fn all(&self) -> Vec<Row> {
        self.0.lock().expect("no panic").rows.clone()
    }

    fn rows(&self) -> Vec<Row> {
        let all = self.all().into_iter();
        all.filter(|row| row.fields["kind"] == "request").collect()
    }

    /// The only row of a request.
    fn row(&self) -> Row {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// What happened to wakers since the last call.
    fn ops(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic").ops)
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Recorder {
    fn on_new_span(&self, span: &span::Attributes<'_>, id: &span::Id, _: LayerContext<'_, S>) {
        if (span.metadata().target(), span.metadata().name()) == ("tokio::task", "runtime.spawn") {
            let mut row = Row { number: id.into_u64(), ..Row::default() };
            span.record(&mut Fields(&mut row.fields));
            self.0.lock().expect("no panic").rows.push(row);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        if event.metadata().target() == "tokio::task::waker" {
            let mut fields = HashMap::new();
            event.record(&mut Fields(&mut fields));
            let number = fields["task.id"].parse().expect("a number");
            let op = fields.remove("op").expect("an op");
            assert!(self.with(&span::Id::from_u64(number), |_| ()).is_some(), "of no row");
            self.0.lock().expect("no panic").ops.push(op);
        }
    }

    fn on_enter(&self, id: &span::Id, _: LayerContext<'_, S>) {
        self.with(id, |row| {
            assert!(!row.is_entered, "twice");
            (row.is_entered, row.polls) = (true, row.polls + 1);
        });
    }

    fn on_exit(&self, id: &span::Id, _: LayerContext<'_, S>) {
        self.with(id, |row| row.is_entered = false);
    }

    fn on_close(&self, id: span::Id, _: LayerContext<'_, S>) {
        self.with(&id, |row| row.is_closed = true);
    }
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl field::Visit for Fields<'_> {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// A body that gives these polls and then ends.
struct Script(VecDeque<Poll<&'static str>>);

impl HttpBody for Script {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = self.0.pop_front();
        next.map_or(Poll::Ready(None), |poll| poll.map(|text| Some(Ok(Frame::data(text.into())))))
    }
}

/// An app that is watched, while a console is attached.
struct App {
    router: Router,
    ledger: &'static Ledger,
    /// Waker of the handler that waits.
    waker: Arc<Mutex<Option<Waker>>>,
    recorder: Recorder,
    attached: Option<Attached>,
    _subscriber: DefaultGuard,
}

impl App {
    fn new() -> Self {
        let waker = Arc::<Mutex<Option<Waker>>>::default();
        let wait = {
            let waker = Arc::clone(&waker);
            move || {
                let waker = Arc::clone(&waker);
                let mut polls = 0;
                poll_fn(move |cx| {
                    polls += 1;
                    *waker.lock().expect("no panic") = (polls < 3).then(|| cx.waker().clone());
                    if polls < 3 { Poll::Pending } else { Poll::Ready("waited") }
                })
            }
        };
        let stream = || async {
            let polls = [Poll::Ready("a"), Poll::Pending, Poll::Ready("b")];
            Body::new(Script(polls.into()))
        };
        let ledger = Ledger::leak(8);
        let router = Router::new()
            .route("/text/{name}", get(|| async { "hello" }))
            .route("/waits", get(wait))
            .route("/stream", get(stream))
            .route("/panics", get(panics))
            .route("/never", get(future::pending::<()>))
            .layer(WatchLayer::new(ledger));
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        Self {
            router,
            ledger,
            waker,
            recorder,
            attached: Some(ledger.budget().attach()),
            _subscriber: tracing::subscriber::set_default(subscriber),
        }
    }

    fn ask(&self, path: &str) -> impl Future<Output = Response> + Send + use<> {
        self.ask_as(path, None)
    }

    fn ask_as(
        &self,
        path: &str,
        id: Option<&str>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let mut request = Request::get(path);
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = self.router.clone().into_service::<Body>().call(request);
        async { answer.await.expect("infallible") }
    }

    fn waker(&self) -> Waker {
        self.waker.lock().expect("no panic").take().expect("it waits")
    }
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

#[tokio::test]
async fn a_row_has_a_name_and_the_request_s_id() {
    let app = App::new();
    assert_eq!(app.ask_as("/text/a", Some("abc-1")).await.status(), 200);
    let row = app.recorder.row();
    let said = ["task.name", "request_id", "kind"].map(|field| &*row.fields[field]);
    assert_eq!(said, ["GET /text/{name}", "abc-1", "request"]);
    assert_eq!((row.polls, row.is_entered, row.is_closed), (1, false, true));
    // A client may send any length of it.
    app.ask_as("/text/a", Some(&"a".repeat(4_000))).await;
    assert_eq!(app.recorder.rows()[1].fields["request_id"], "a".repeat(128));
}

#[tokio::test]
async fn a_row_is_what_tokio_makes_of_a_task() {
    let app = App::new();
    tokio::spawn(app.ask_as("/text/a", Some("abc-1"))).await.expect("no panic");
    let (mut request, all) = (app.recorder.row(), app.recorder.all());
    let mut task = all.into_iter().find(|row| row.fields["kind"] == "task").expect("a task");
    // The one that carries it.
    assert_eq!(request.fields["task.id"], task.fields["task.id"]);
    assert_eq!(request.fields["loc.file"], task.fields["loc.file"]);
    request.fields.remove("request_id");
    task.fields.remove("size.bytes");
    let names = |row: &Row| row.fields.keys().copied().collect::<BTreeSet<_>>();
    assert_eq!(names(&request), names(&task));
}

#[tokio::test]
async fn its_wakers_are_told_as_a_task_s_are() {
    let app = App::new();
    let mut answer = Box::pin(app.ask("/waits"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    assert_eq!(app.recorder.ops(), ["waker.clone"]);
    app.waker().wake();
    assert_eq!(app.recorder.ops(), ["waker.wake"]);
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    // It took the place of one that was used up.
    assert_eq!(app.recorder.ops(), ["waker.clone"]);
    let waker = app.waker();
    waker.wake_by_ref();
    drop(waker);
    assert_eq!(app.recorder.ops(), ["waker.wake_by_ref"]);
    assert!(answer.as_mut().poll(&mut cx).is_ready());
    assert_eq!(app.recorder.ops()[0], "waker.drop");
    let row = app.recorder.row();
    assert_eq!((row.polls, row.is_entered, row.is_closed), (3, false, true));
}

#[tokio::test]
async fn it_wakes_the_task_that_polled_it_last() {
    let app = App::new();
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut answer = Box::pin(app.ask("/waits"));
    for count in [&first, &second] {
        let waker = Waker::from(Arc::clone(count));
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        app.waker().wake();
    }
    assert_eq!([first, second].map(|count| *count.0.lock().expect("no panic")), [1, 1]);
    // Clones and wakes by value add up across the two.
    let ops = app.recorder.ops();
    assert_eq!(ops, ["waker.clone", "waker.wake", "waker.clone", "waker.wake"]);
}

/// Counts its wakes.
#[derive(Default)]
struct Count(Mutex<usize>);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().expect("no panic") += 1;
    }
}

#[tokio::test]
async fn a_poll_that_nobody_woke_it_for_came_with_its_connection() {
    let app = App::new();
    let mut never = Box::pin(app.ask("/never"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(never.as_mut().poll(&mut cx).is_pending());
    assert!(app.recorder.ops().is_empty());
    assert!(never.as_mut().poll(&mut cx).is_pending());
    assert_eq!(app.recorder.ops(), ["waker.wake_by_ref"]);
}

#[tokio::test]
async fn a_row_ends_with_a_request_that_is_cancelled() {
    let app = App::new();
    let mut never = Box::pin(app.ask("/never"));
    assert!(never.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(!app.recorder.row().is_closed);
    drop(never);
    assert!(app.recorder.row().is_closed);
}

#[tokio::test]
async fn a_row_ends_with_a_request_that_panics() {
    let app = App::new();
    let mut panics = Box::pin(app.ask("/panics"));
    let mut cx = Context::from_waker(Waker::noop());
    let poll = catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(&mut cx).is_ready()));
    assert!(poll.is_err());
    let row = app.recorder.row();
    assert_eq!((row.polls, row.is_entered), (1, false));
    drop(panics);
    assert!(app.recorder.row().is_closed);
}

#[tokio::test]
async fn a_stream_is_shown_to_its_end() {
    let app = App::new();
    let mut body = app.ask("/stream").await.into_body();
    // The connection will ask for it: its waker is not lost.
    assert_eq!(app.recorder.ops(), ["waker.clone"]);
    assert!(!app.recorder.row().is_closed);
    let mut next = || {
        let frame = body.frame();
        let mut frame = std::pin::pin!(frame);
        frame.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    assert_eq!([next(), next(), next()], [true, false, true]);
    let row = app.recorder.row();
    assert_eq!((row.polls, row.is_closed), (4, false));
    assert!(next());
    assert!(app.recorder.row().is_closed);
}

#[tokio::test]
async fn a_row_ends_with_a_body_that_is_cut() {
    let app = App::new();
    let mut body = app.ask("/stream").await.into_body();
    body.frame().await.expect("a frame").expect("no error");
    assert!(!app.recorder.row().is_closed);
    drop(body);
    assert!(app.recorder.row().is_closed);
}

#[tokio::test]
async fn past_the_budget_and_while_nobody_is_attached_there_are_no_rows() {
    let mut app = App::new();
    app.ledger.budget().set(0);
    app.ask("/text/a").await;
    assert_eq!((app.recorder.rows().len(), app.ledger.budget().refused()), (0, 1));
    app.ledger.budget().set(10);
    for _ in 0..3 {
        app.ask("/text/a").await;
    }
    // All of a tenth of a second's at once; a slow machine may see the next one fall due.
    let (rows, refused) = (app.recorder.rows().len(), app.ledger.budget().refused());
    assert!(rows >= 1 && rows as u64 + refused == 4, "{rows}, {refused}");
    app.attached = None;
    app.ask("/text/a").await;
    assert_eq!((app.recorder.rows().len(), app.ledger.budget().refused()), (rows, refused));
}

#[tokio::test]
async fn without_a_console_s_layer_requests_are_counted_as_unnamed() {
    let other = tracing_subscriber::registry().with(LevelFilter::INFO);
    let _subscriber = tracing::subscriber::set_default(other);
    let ledger = Ledger::leak(8);
    let attached = ledger.budget().attach();
    let app = Router::new().route("/", get(|| async { "hello" })).layer(WatchLayer::new(ledger));
    let request = Request::get("/").body(Body::empty()).expect("a request");
    app.into_service::<Body>().call(request).await.expect("infallible");
    assert_eq!(ledger.budget().refused(), 1);
    drop(attached);
}
