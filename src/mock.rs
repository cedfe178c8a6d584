//! `thermograph mock`: plays an AI API for tests and benches, paced, failing or silent as it is told.
//!
//! Chat and text completions, responses, embeddings, audio, images, moderation and reranking in
//! `OpenAI`'s forms, and messages in `Anthropic`'s, with words instead of thoughts. How it behaves is said by flags, and changed while it runs at its own door, `/mock`,
//! which also says what became of every request. What concerns models, health and the door itself
//! is answered at once, however it behaves.
//!
//! It has no token, and so listens on loopback only.

mod answer;
mod behaviour;
mod bounds;
mod chat;
mod choices;
mod chunks;
mod completions;
mod content;
mod counters;
mod distribution;
mod door;
mod embeddings;
mod form;
mod hash;
mod images;
mod logprobs;
mod manner;
mod messages;
mod models;
mod moderations;
mod names;
mod object;
mod output;
mod refusal;
mod request_id;
mod rerank;
mod response_format;
mod responses;
mod routes;
mod script;
mod size;
mod speech;
mod transcriptions;
mod way;
mod words;

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{net::TcpListener, runtime};
use tokio_util::sync::CancellationToken;

use self::{behaviour::BadChange, counters::Counters, door::Recorded, manner::Manner};
pub use self::{
    behaviour::Behaviour,
    bounds::{NotAllowed, Share, Whole},
    counters::Counts,
    distribution::Distribution,
    names::Names,
};
use super::{addresses, config::Api, files, server, shutdown};
use thermograph::TimedListener;

/// Play an AI API for tests and benches: paced, failing or silent, as it is told.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = DOOR)]
pub struct Args {
    /// Address, on loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001", value_parser = loopback)]
    pub listen: SocketAddr,
    /// Write the address in use to this file, as JSON, once the mock answers.
    #[arg(long, value_name = "FILE")]
    pub addresses_file: Option<PathBuf>,
    /// How it behaves at first.
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// Where a mock listens: what [`Args::addresses_file`] holds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Addresses {
    /// The API, and the mock's own door.
    pub api: SocketAddr,
}

const DOOR: &str = "\
Its own door, /mock, shows how it behaves and what became of every request; PATCH /mock with a JSON \
object changes the fields that it has, which are called like the flags, with `_`. Of a request only \
one thing goes wrong: hung, refused, cut and stalled are tried in this order.";

/// How long streams may take to finish after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Most connections at a time.
const CONNECTIONS: usize = 100_000;
/// Open files for which there is room without a wait.
const FILES: usize = 16 << 10;

/// A mock: cheap to clone, all clones are one.
#[derive(Clone)]
struct Mock(Arc<Inner>);

struct Inner {
    manner: ArcSwap<Manner>,
    /// Held while the manner is changed: of two changes at once, none is lost.
    changing: Mutex<()>,
    counters: Arc<Counters>,
    last: ArcSwapOption<Recorded>,
    stop: CancellationToken,
    /// Seconds since 1970.
    created: u64,
}

/// Serves until a signal, then drains.
pub fn run(args: Args) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    files::make_room(FILES);
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name("mock").build()?;
    runtime.block_on(serve(args))?;
    tracing::info!("stopped");
    Ok(())
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let Args { listen, addresses_file, behaviour } = args;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen: cannot listen on `{listen}`"))?;
    let address = listener.local_addr()?;
    let stop = shutdown::on_signal()?;
    let told = serde_json::to_string(&behaviour)?;
    tracing::info!("plays an AI API at http://{address}, its door is /mock; it behaves so: {told}");
    if let Some(file) = addresses_file {
        addresses::write(&Addresses { api: address }, &file)?;
    }
    let mock = Mock::new(behaviour, stop.requested.clone());
    let api = Api {
        max_connections: CONNECTIONS,
        // Nobody balances over mocks by their readiness.
        shutdown_grace: Duration::ZERO,
        drain_timeout: DRAIN,
        ..Api::default()
    };
    let connections = mock.counters().connections();
    let listener = server::Listener::tcp(TimedListener::unstamped(listener));
    let app = server::App::plain(routes::router(mock));
    server::run_counted(listener, app, &api, stop, connections).await;
    Ok(())
}

impl Mock {
    fn new(behaviour: Behaviour, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            manner: ArcSwap::from_pointee(Manner::new(behaviour, None)),
            changing: Mutex::new(()),
            counters: Arc::default(),
            last: ArcSwapOption::empty(),
            stop,
            created: content::now(),
        }))
    }

    fn manner(&self) -> Arc<Manner> {
        self.0.manner.load_full()
    }

    /// Changes the fields that `change` has, for requests that come from now on.
    fn change(&self, change: Value) -> Result<(), BadChange> {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.manner();
        let behaviour = old.behaviour.changed(change)?;
        self.0.manner.store(Arc::new(Manner::new(behaviour, Some(&old))));
        Ok(())
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    fn record(&self, request: Recorded) {
        self.0.last.store(Some(Arc::new(request)));
    }

    fn recorded(&self) -> Option<Arc<Recorded>> {
        self.0.last.load_full()
    }

    fn stop(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Waits for the signal to stop.
    async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    fn created(&self) -> u64 {
        self.0.created
    }
}

/// Whoever reaches the mock may change it.
fn loopback(text: &str) -> Result<SocketAddr, NotAllowed> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    let allowed = "a loopback address such as 127.0.0.1:9001, since the mock has no token";
    address.ok_or_else(|| NotAllowed::new(text, allowed))
}
