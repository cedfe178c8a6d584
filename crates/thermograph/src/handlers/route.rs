//! The handler of a request, by what is known before it is handled.
//!
//! As a rule that is the method and axum's matched path. Besides:
//!
//! - Methods that HTTP does not define are one, `_OTHER`, as in OpenTelemetry's conventions: a client
//!   can make up any number.
//! - An RPC (gRPC, gRPC-Web, Connect) has the path of its method, `/pkg.Service/Method`, where a
//!   router matches whole services, also below a prefix.
//! - A request that matches no route has the path that its router is nested at, or else what the
//!   paths that came to the same fallback or nested service have in common, such as
//!   `/files/* (unmatched)`.

use std::sync::{
    LazyLock, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::extract::{MatchedPath, NestedPath};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use thermograph_sampler::Slot;

use super::{
    handler::{Handler, OTHER, UNMATCHED},
    ledger::{Hint, Ledger},
};

/// Methods of a service that have handlers before any of them was answered as one that is there.
const MOST_UNPROVEN: usize = 32;
/// Names that an app can give to the work of one handler.
const MOST_NAMES: usize = 64;
/// Longest path of an RPC, and longest path that paths have in common.
const MOST_BYTES: usize = 200;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The status of an RPC that succeeded. Of others it is not known whether the method is there: what
/// stands before the service, such as authentication, answers with any.
const OK: &[u8] = b"0";
/// Content types of answers to RPCs.
const ANSWERS: [&[u8]; 4] =
    [b"application/grpc", b"application/connect+", b"application/proto", b"application/json"];

/// A method of a service that a client called, and that may be made up.
pub(crate) struct Candidate {
    ledger: &'static Ledger,
    service: &'static Handler,
    method: Method,
    path: Box<str>,
}

/// The handler of a request; an RPC that has none of its own yet is counted as its service's.
#[inline]
pub(crate) fn handler<B>(
    ledger: &'static Ledger,
    hint: Hint,
    request: &Request<B>,
) -> (&'static Handler, Option<Candidate>) {
    let method = standard(request.method());
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match matched {
        Some(path) if !is_wildcard(path) => (ledger.handler(hint, method, Some(path)), None),
        // Apart, to keep what runs for every request small.
        _ => uncertain(ledger, hint, method, matched, request),
    }
}

/// The handler where a wildcard or nothing matched.
#[inline(never)]
fn uncertain<B>(
    ledger: &'static Ledger,
    hint: Hint,
    method: &Method,
    matched: Option<&str>,
    request: &Request<B>,
) -> (&'static Handler, Option<Candidate>) {
    let path = request.uri().path();
    let service = || match matched {
        Some(matched) => ledger.handler(hint, method, Some(matched)),
        None => unmatched(ledger, hint, method, request),
    };
    if !is_rpc(request.headers()) || !is_rpc_path(path, matched) {
        return (service(), None);
    }
    // The service's handler, whether it has a row or not.
    let whole = match matched {
        Some(matched) => ledger.known(method, matched, || true),
        None => None,
    };
    let whole = whole.unwrap_or_else(|| ledger.handler(hint, method, None));
    if let Some(rpc) = ledger.known(method, path, || whole.take_name(MOST_UNPROVEN)) {
        rpc.set_part_of(whole);
        return (ledger.admitted(rpc), None);
    }
    let (method, path) = (method.clone(), path.into());
    (service(), Some(Candidate { ledger, service: whole, method, path }))
}

/// The response head came: the RPC method that was called is there, or is not.
#[inline]
pub(crate) fn answered(handler: &Handler, status: StatusCode, headers: &HeaderMap) {
    if handler.part_of().is_some() && !handler.is_proven() && is_there(status, headers) {
        handler.prove();
    }
}

impl Candidate {
    /// Gives the method a handler if the response head shows that it is there.
    pub(crate) fn answered(self, status: StatusCode, headers: &HeaderMap) {
        let Self { ledger, service, method, path } = self;
        if is_there(status, headers)
            && let Some(rpc) = ledger.known(&method, &path, || true)
        {
            rpc.set_part_of(service);
            // The method took no name from the bound.
            rpc.prove_without_name();
        }
    }
}

/// Returns whether an answer shows that the RPC method is there.
#[cold]
#[inline(never)]
fn is_there(status: StatusCode, headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    status.is_success()
        && headers.get(GRPC_STATUS).is_none_or(|code| code == OK)
        && ANSWERS.iter().any(|answer| content_type.starts_with(answer))
}

/// Names the work of the request that this thread polls; returns whether it did.
pub(crate) fn name(name: &str) -> bool {
    let slot = Slot::current();
    let Some(current) =
        Handler::at_work_on(slot).filter(|handler| slot.is_polling() && !handler.is_task())
    else {
        return false;
    };
    let whole = if current.is_named() { current.part_of().unwrap_or(current) } else { current };
    let route = |name: &str| format!("{}#{name}", whole.route);
    let name: String = name.chars().filter(|c| !c.is_control()).take(MOST_BYTES).collect();
    let registry = whole.registry();
    let known = registry.find(&whole.method, &route(&name));
    let named = known.or_else(|| {
        let name = if whole.take_name(MOST_NAMES) { route(&name) } else { route(OTHER) };
        registry.intern(&whole.method, &name, whole.overruns)
    });
    let Some(named) = named else { return false };
    named.set_part_of(whole);
    named.set_named();
    (named.has_row() || registry.admit(named)) && slot.rename(named.number())
}

/// The method, if HTTP defines it (RFC 9110, section 9, and RFC 5789), or else one for all others.
fn standard(method: &Method) -> &Method {
    #[expect(clippy::expect_used, reason = "a constant that is a legal token")]
    static OTHER: LazyLock<Method> =
        LazyLock::new(|| Method::from_bytes(b"_OTHER").expect("a legal token"));
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::CONNECT
        | Method::TRACE => method,
        _ => &OTHER,
    }
}

/// Whether a matched path ends with a parameter that stands for any number of segments.
fn is_wildcard(path: &str) -> bool {
    path.ends_with('}') && path.rsplit('/').next().is_some_and(|last| last.starts_with("{*"))
}

fn is_rpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is = |prefix: &[u8]| content_type.is_some_and(|value| value.starts_with(prefix));
    is(b"application/grpc")
        || is(b"application/connect+")
        || headers.contains_key("connect-protocol-version")
}

/// Returns whether a path is that of an RPC: `/pkg.Service/Method`, below a prefix that the matched
/// route spells out, if there is one.
fn is_rpc_path(path: &str, matched: Option<&str>) -> bool {
    fn is_name(name: &str) -> bool {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._".contains(&byte);
        !name.is_empty() && name.bytes().all(is_of_a_name)
    }
    let mut parts = path.rsplitn(3, '/');
    let (Some(method), Some(service), Some(prefix)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_spelled_out = matched.is_some_and(|matched| {
        let literal = matched.split('{').next().unwrap_or_default();
        literal.starts_with(prefix) && literal[prefix.len()..].starts_with('/')
    });
    path.len() <= MOST_BYTES
        && is_name(method)
        && is_name(service)
        && (prefix.is_empty() || is_spelled_out)
}

/// The handler of requests that matched no route at this place.
fn unmatched<B>(
    ledger: &'static Ledger,
    hint: Hint,
    method: &Method,
    request: &Request<B>,
) -> &'static Handler {
    if let Some(nested) = request.extensions().get::<NestedPath>() {
        let route = format!("{}/* {UNMATCHED}", nested.as_str().trim_end_matches('/'));
        return ledger.handler(hint, method, Some(&route));
    }
    let route = ledger.place(hint).and_then(|place| place.route(request.uri().path()));
    ledger.handler(hint, method, route)
}

/// What the paths have in common that matched no route at one place, a fallback or a nested service.
///
/// It can only become less: at most [`Place::STEPS`] times.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Routes that were shown, each with what it begins with.
    steps: [OnceLock<Step>; Self::STEPS],
    /// How many of them are set.
    taken: AtomicUsize,
}

#[derive(Debug)]
struct Step {
    /// Without a slash at its end; empty where the paths have nothing in common.
    prefix: Box<str>,
    route: Box<str>,
}

impl Place {
    const STEPS: usize = 3;

    /// The route to show for a path; `None` where paths have nothing in common.
    fn route(&self, path: &str) -> Option<&str> {
        loop {
            let taken = self.taken.load(Relaxed);
            let last = taken.checked_sub(1).and_then(|last| self.steps.get(last)?.get());
            if let Some(step) = last
                && (step.prefix.is_empty() || is_below(path, &step.prefix))
            {
                return (!step.prefix.is_empty()).then_some(&*step.route);
            }
            // Past the last step there is nothing in common.
            let step = self.steps.get(taken)?;
            let is_last = taken + 1 == Self::STEPS;
            let prefix = match last {
                _ if is_last => "",
                Some(last) => common(path, &last.prefix),
                None => path.rsplit_once('/').map_or("", |(directory, _)| directory),
            };
            let prefix = if is_showable(prefix) { prefix } else { "" };
            let route = format!("{prefix}/* {UNMATCHED}").into();
            // Another thread may have set it: both look again.
            let _ = step.set(Step { prefix: prefix.into(), route });
            self.taken.fetch_max(taken + 1, Relaxed);
        }
    }
}

/// Whether a path is the prefix, or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The longest prefix of whole segments that a path shares with `prefix`.
fn common<'a>(path: &str, prefix: &'a str) -> &'a str {
    let mut shared = prefix;
    while !shared.is_empty() && !is_below(path, shared) {
        shared = shared.rsplit_once('/').map_or("", |(directory, _)| directory);
    }
    shared
}

/// Clients send any path: only plain ones are shown.
fn is_showable(prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    prefix.len() <= MOST_BYTES && prefix.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::Body,
        response::{IntoResponse as _, Response},
        routing::{any, get},
    };
    use tower_service::Service as _;

    use super::*;
    use crate::watch::WatchLayer;

    /// Sends requests through an app, and says which handlers it had, sorted, with their requests.
    async fn asked(
        app: Router,
        ledger: &'static Ledger,
        requests: Vec<Request<Body>>,
    ) -> Vec<(String, u64)> {
        // As `axum::serve` does: layers are applied once.
        let mut app = app.with_state(()).into_service::<Body>();
        for request in requests {
            let response = app.call(request).await.expect("infallible");
            drop(response);
        }
        let handlers = ledger.report().handlers.into_iter();
        let mut rows: Vec<_> =
            handlers.map(|row| (format!("{} {}", row.method, row.route), row.requests)).collect();
        rows.sort();
        rows
    }

    fn request(method: &str, path: &str) -> Request<Body> {
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")
    }

    fn rpc(path: &str) -> Request<Body> {
        let mut request = request("POST", path);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, "application/grpc+proto".parse().expect("legal"));
        request
    }

    fn row(name: &str, requests: u64) -> (String, u64) {
        (name.to_owned(), requests)
    }

    /// Answers methods of a service as tonic does, behind an interceptor that knows some clients.
    async fn service(request: Request<Body>) -> Response {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().expect("legal"));
        if request.uri().path().contains("Unauthenticated") {
            response.headers_mut().insert(GRPC_STATUS, "16".parse().expect("legal"));
            return response;
        }
        let is_there =
            ["SayHello", "SayBye"].iter().any(|name| request.uri().path().ends_with(name));
        if !is_there {
            response.headers_mut().insert(GRPC_STATUS, "12".parse().expect("legal"));
        }
        response
    }

    #[tokio::test]
    async fn methods_that_clients_make_up_are_one_and_leave_room_for_routes() {
        let ledger = Ledger::leak(8);
        let app = Router::new()
            .route("/any", any(|| async {}))
            .route("/new", get(|| async {}))
            .layer(WatchLayer::new(ledger));
        let mut requests: Vec<_> =
            (0..300).map(|number| request(&format!("MADE-UP-{number}"), "/any")).collect();
        // The name of the diagnostics' own for work that is no request.
        requests.push(request("TASK", "/any"));
        requests.push(request("GET", "/new"));
        let rows = asked(app, ledger, requests).await;
        assert_eq!(rows, [row("GET /new", 1), row("_OTHER /any", 301)]);
    }

    #[tokio::test]
    async fn rpc_has_the_path_of_its_method() {
        let ledger = Ledger::leak(200);
        let app = Router::new()
            .route("/pkg.Greeter/{*rest}", any(service))
            .route("/files/{*rest}", any(|| async {}))
            .layer(WatchLayer::new(ledger));
        let mut requests = vec![rpc("/pkg.Greeter/SayHello"), rpc("/pkg.Greeter/SayHello")];
        // More than may have a name before one of them is known to be there.
        requests.extend((0..100).map(|number| rpc(&format!("/pkg.Greeter/MadeUp{number}"))));
        requests.extend([rpc("/pkg.Greeter/SayBye"), rpc("/pkg.Greeter/SayBye")]);
        // No RPC, and no path of one.
        requests.extend([
            request("GET", "/files/a"),
            request("GET", "/files/b"),
            rpc("/files/a/b/c"),
        ]);
        let rows = asked(app, ledger, requests).await;
        let of = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
        assert_eq!(of("POST /pkg.Greeter/SayHello"), Some(2), "{rows:?}");
        assert_eq!(of("POST /pkg.Greeter/SayBye"), Some(1), "{rows:?}");
        assert_eq!(of("GET /files/{*rest}"), Some(2), "{rows:?}");
        assert_eq!(of("POST /files/{*rest}"), Some(1), "{rows:?}");
        let made_up = rows.iter().filter(|row| row.0.contains("MadeUp"));
        assert_eq!(made_up.count(), MOST_UNPROVEN);
        let all: u64 = rows.iter().map(|row| row.1).sum();
        assert_eq!(all, 107, "{rows:?}");
    }

    #[tokio::test]
    async fn rpc_below_a_prefix_has_the_path_of_its_method() {
        let ledger = Ledger::leak(32);
        let greeter = Router::new().route("/pkg.Greeter/{*rest}", any(service));
        let app = Router::new()
            .nest("/grpc", greeter)
            .route("/of/{tenant}/{*rest}", any(service))
            .layer(WatchLayer::new(ledger));
        let rows = asked(
            app,
            ledger,
            vec![
                rpc("/grpc/pkg.Greeter/SayHello"),
                rpc("/grpc/pkg.Greeter/SayBye"),
                // Below a part of the path that clients choose, there is no end of names.
                rpc("/of/1/pkg.Greeter/SayHello"),
                rpc("/of/2/pkg.Greeter/SayHello"),
            ],
        )
        .await;
        let expected = [
            row("POST /grpc/pkg.Greeter/SayBye", 1),
            row("POST /grpc/pkg.Greeter/SayHello", 1),
            row("POST /of/{tenant}/{*rest}", 2),
        ];
        assert_eq!(rows, expected);
    }

    #[tokio::test]
    async fn answers_that_prove_no_method_name_a_bounded_number() {
        for (path, content_type) in
            [("Unauthenticated", "application/grpc"), ("Page", "text/html; charset=utf-8")]
        {
            let ledger = Ledger::leak(200);
            let page = move |request: Request<Body>| async move {
                if path == "Unauthenticated" {
                    return service(request).await;
                }
                ([(CONTENT_TYPE, content_type)], "").into_response()
            };
            let app = Router::new()
                .route("/pkg.Greeter/{*rest}", any(page))
                .layer(WatchLayer::new(ledger));
            let requests = (0..100).map(|number| rpc(&format!("/pkg.Greeter/{path}{number}")));
            let rows = asked(app, ledger, requests.collect()).await;
            let made_up = rows.iter().filter(|row| row.0.contains(path)).count();
            assert_eq!(made_up, MOST_UNPROVEN, "{rows:?}");
        }
    }

    #[tokio::test]
    async fn fallbacks_and_nested_services_are_told_apart() {
        let ledger = Ledger::leak(32);
        let files = any(|| async {});
        let api = Router::new().route("/users", get(|| async {})).fallback(|| async {});
        let app = Router::new()
            .nest("/api", api)
            .nest_service("/files", files)
            .fallback(|| async {})
            .layer(WatchLayer::new(ledger));
        let paths =
            ["/api/users", "/api/nothing", "/api/neither", "/files/a", "/files/b/c", "/x", "/y/z"];
        let requests = paths.iter().map(|path| request("GET", path)).collect();
        let rows = asked(app, ledger, requests).await;
        let expected = [
            row("* (unmatched)", 2),
            row("GET /api/* (unmatched)", 2),
            row("GET /api/users", 1),
            row("GET /files/* (unmatched)", 2),
        ];
        assert_eq!(rows, expected);
    }

    #[tokio::test]
    async fn fallback_of_a_nested_router_with_a_layer_has_the_path_that_it_is_nested_at() {
        let ledger = Ledger::leak(32);
        let api = Router::new()
            .route("/users", get(|| async {}))
            .fallback(|| async {})
            .layer(WatchLayer::new(ledger));
        let app = Router::new().nest("/v1/api", api);
        let paths = ["/v1/api/users", "/v1/api/a", "/v1/api/b/c"];
        let requests = paths.iter().map(|path| request("GET", path)).collect();
        let rows = asked(app, ledger, requests).await;
        assert_eq!(rows, [row("GET /v1/api/* (unmatched)", 2), row("GET /v1/api/users", 1)]);
    }

    #[tokio::test]
    async fn request_that_the_app_names_is_counted_under_the_name_alone() {
        use crate::label::name_request;

        let ledger = Ledger::leak(200);
        let rpc = |request: Request<Body>| async move {
            let name = request.uri().query().unwrap_or_default().to_owned();
            tokio::task::yield_now().await;
            assert!(name == "none" || name_request(&name));
            tokio::task::yield_now().await;
        };
        let app = Router::new().route("/rpc", any(rpc)).layer(WatchLayer::new(ledger));
        let ask = |name: &str| request("POST", &format!("/rpc?{name}"));
        let mut requests = vec![ask("users"), ask("users"), ask("orders"), ask("none")];
        requests.extend((0..100).map(|number| ask(&format!("made-up-{number}"))));
        let rows = asked(app, ledger, requests).await;
        let of = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
        assert_eq!(of("POST /rpc#users"), Some(2), "{rows:?}");
        assert_eq!(of("POST /rpc#orders"), Some(1), "{rows:?}");
        assert_eq!(of("POST /rpc"), Some(1), "{rows:?}");
        assert_eq!(of("POST /rpc#(other)"), Some(100 - (MOST_NAMES as u64 - 2)), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.1).sum::<u64>(), 104, "{rows:?}");
        let handlers = ledger.report().handlers;
        assert!(
            handlers.iter().all(|row| row.in_flight == 0 && row.cancelled == 0),
            "{handlers:?}"
        );
        let users = handlers.iter().find(|row| row.route == "/rpc#users").expect("a row");
        // Of three polls each, the one before the name was given is not its.
        assert_eq!(users.polls, 4);

        assert!(!name_request("outside of a request"));
    }

    #[test]
    fn place_shows_what_its_paths_have_in_common() {
        let place = Place::default();
        assert_eq!(place.route("/files/a/b"), Some("/files/a/* (unmatched)"));
        assert_eq!(place.route("/files/a/c/d"), Some("/files/a/* (unmatched)"));
        assert_eq!(place.route("/files/ab/d"), Some("/files/* (unmatched)"));
        assert_eq!(place.route("/files/a"), Some("/files/* (unmatched)"));
        assert_eq!(place.route("/filesystem"), None);
        assert_eq!(place.route("/files/a"), None, "it can only become less");
        // What clients send is not shown as it is.
        assert_eq!(Place::default().route("/%3Cscript%3E/x"), None);
        assert_eq!(Place::default().route("/"), None);
        assert_eq!(Place::default().route("*"), None);
        let long = format!("/{}/x", "a".repeat(MOST_BYTES));
        assert_eq!(Place::default().route(&long), None);
    }
}
