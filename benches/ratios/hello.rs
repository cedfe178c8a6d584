//! The small servers that show what a layer costs: a handler that says hello.
//!
//! On one core, and so with one worker; the client has another.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::Path,
    routing::{get, post},
    serve::{Listener as _, ListenerExt as _},
};
use bytes::Bytes;
use clap::ValueEnum;
use http::header;
use rustix::process::{Signal, set_parent_process_death_signal};
use thermograph::{ConsoleMode, Ledger, Thermograph, WatchLayer};
use tokio::{net::TcpListener, runtime, task::JoinSet};
use tower::layer::util::Identity;
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{hits, pin::Side};

/// Which server to be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// No diagnostics in the process. Its apps: without a layer, with one that does nothing, with
    /// the diagnostics layer on a ledger that no watchdog looks at, and one with answers at hand.
    Plain,
    /// With the diagnostics layer and its watchdog.
    Watched,
    /// Without the console.
    ConsoleOff,
    /// With the console, to which somebody may attach.
    ConsoleOnAttach,
}

/// Serves until the standard input ends; says the addresses of its apps first, then that of the
/// console, if there is one, and then that of the diagnostics' door, if there is one.
pub(crate) fn serve(kind: Kind) -> anyhow::Result<()> {
    // Stopped, it would not see the end of its standard input.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let _pinned = Side::Server.pin()?;
    thread::spawn(leave_with_the_parent);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Kind::Plain = kind {
        let unwatched = WatchLayer::new(Ledger::leak(256));
        let app = || app(get(hello));
        let apps = vec![app(), app().layer(Identity::new()), app().layer(unwatched), ready()];
        return runtime.block_on(listen(apps, []));
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let thermograph = Thermograph::builder().listen(any).console_listen(any);
    let mode = match kind {
        Kind::ConsoleOnAttach => ConsoleMode::OnAttach,
        Kind::Plain | Kind::Watched | Kind::ConsoleOff => ConsoleMode::Off,
    };
    // Starts the watchdog: on the server's core, as all that comes after the pinning.
    let thermograph = thermograph.console(mode).build()?;
    let door = thermograph.serve()?;
    let app = match kind {
        Kind::Plain | Kind::Watched => app(get(hello)),
        Kind::ConsoleOff | Kind::ConsoleOnAttach => {
            subscribe(&thermograph)?;
            app(get(traced))
        }
    };
    let doors = door.console_address().into_iter().chain([door.address()]);
    runtime.block_on(listen(vec![app.layer(thermograph.layer())], doors))
}

fn app(handler: axum::routing::MethodRouter) -> Router {
    Router::new().route("/", handler)
}

/// Takes a request whole, and answers with so many bytes.
fn ready() -> Router {
    let answer = async |Path(bytes): Path<usize>, _: Bytes| {
        ([(header::CONTENT_TYPE, "application/json")], hits::at_hand(bytes))
    };
    Router::new().route("/answer/{bytes}", post(answer))
}

async fn hello() -> &'static str {
    "hello"
}

/// With a span, as the service's handlers have.
#[tracing::instrument]
async fn traced() -> &'static str {
    "hello"
}

/// As `thermograph serve` does.
fn subscribe(thermograph: &Thermograph) -> anyhow::Result<()> {
    let lines = fmt::layer().with_writer(io::stderr).json().flatten_event(true);
    let lines = lines.with_filter(EnvFilter::try_new("info")?);
    tracing_subscriber::registry().with(lines).with(thermograph.tracing_layer()).try_init()?;
    Ok(())
}

async fn listen(
    apps: Vec<Router>,
    doors: impl IntoIterator<Item = SocketAddr>,
) -> anyhow::Result<()> {
    let mut servers = JoinSet::new();
    let mut addresses = Vec::new();
    for app in apps {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.tap_io(|stream| {
            // It cannot fail on a connection that has just been made.
            let _ = stream.set_nodelay(true);
        });
        addresses.push(listener.local_addr()?.to_string());
        servers.spawn(async { axum::serve(listener, app).await });
    }
    addresses.extend(doors.into_iter().map(|door| door.to_string()));
    println!("{}", addresses.join(" "));
    servers.join_next().await.context("no server")???;
    Ok(())
}

fn leave_with_the_parent() {
    // Whether it ends or fails: nobody is there.
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(0);
}
