//! `thermograph serve`: the AI API and the diagnostics.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use thermograph::{Door, ServeError, Thermograph, label};
use thermograph_common::Hooks;
use thermograph_service::Service;
use tokio::{net::TcpListener, runtime, time};

use super::{
    addresses,
    config::TlsFiles,
    config::{Api, Config, Flag, Listen, Loaded, Mode, Source},
    files, findings,
    reload::Reload,
    server::{self, Tls, TlsListener},
    shutdown, task, telemetry,
};

/// Longest time of a TLS handshake with the diagnostics.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serve the AI API, and the diagnostics beside it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Address of the AI API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of the diagnostics [default: 127.0.0.1:6060].
    #[arg(long, value_name = "ADDRESS")]
    pub diagnostics_listen: Option<String>,
    /// Address that tokio-console attaches to [default: 127.0.0.1:6669].
    #[arg(long, value_name = "ADDRESS")]
    pub console_listen: Option<String>,
    /// Pass requests on to this server, whose models can then be used by their names; may be given
    /// several times.
    #[arg(long = "upstream", value_name = "[NAME=]URL")]
    pub upstreams: Vec<UpstreamFlag>,
    /// Write the addresses in use to this file, as JSON, once the service answers.
    #[arg(long, value_name = "FILE")]
    pub addresses_file: Option<PathBuf>,
    /// Check the configuration and stop.
    #[arg(long)]
    pub check: bool,
}

/// An upstream on the command line.
#[derive(Clone, Debug)]
pub struct UpstreamFlag {
    name: Option<String>,
    url: String,
}

impl From<&str> for UpstreamFlag {
    fn from(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, url)) if !name.contains(':') => {
                Self { name: Some(name.to_owned()), url: url.to_owned() }
            }
            _ => Self { name: None, url: text.to_owned() },
        }
    }
}

/// Addresses that a service listens on: what [`Args::addresses_file`] holds.
/// The address of the API is a [`Listen`]; one of TCP can be read as that.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Addresses<A = SocketAddr> {
    /// The AI API.
    pub api: A,
    /// The diagnostics.
    pub diagnostics: SocketAddr,
    /// tokio-console; none where it is off.
    pub console: Option<SocketAddr>,
}

/// Serves until a signal, then drains.
pub fn run(file: Option<&Path>, args: &Args) -> anyhow::Result<()> {
    let source = Source::new(file, args.flags());
    let loaded = source.load()?;
    let [api_tls, diagnostics_tls] = tls_of(&loaded.config)?;
    if args.check {
        for files in [&api_tls, &diagnostics_tls].into_iter().flatten() {
            files.check()?;
        }
        let listen = &loaded.config.api.listen;
        listen.check().map_err(|allowed| {
            anyhow::anyhow!("api.listen = \"{listen}\" is not allowed: {allowed}")
        })?;
        Service::check(&loaded.config.service())?;
        anstream::println!("the configuration is valid");
        return Ok(());
    }
    let config = &loaded.config;
    let metrics = telemetry::metrics().context("cannot record metrics")?;
    let rendered = metrics.clone();
    // The service starts after the diagnostics.
    let started = Arc::new(OnceLock::<Service>::new());
    let examined = Arc::clone(&started);
    let open = config.open_address();
    let thermograph = Thermograph::builder()
        .config(config.diagnostics.clone())
        .metrics(move || rendered.render())
        .examine(move || {
            examined.get().map(|service| findings::of(service, open)).unwrap_or_default()
        })
        .build()?;
    telemetry::init(&config.log, &thermograph)?;
    files::make_room(files_of(config));
    // Before the diagnostics look whether they are there.
    let mut builder = runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("worker");
    thermograph.hooks().install(&mut builder);
    let secured =
        |files: Option<TlsFiles>, timeout| files.map(|files| Tls::new(files, timeout)).transpose();
    let api_tls = secured(api_tls, config.api.idle_timeout)?;
    let diagnostics_tls = secured(diagnostics_tls, HANDSHAKE)?;
    let door = match diagnostics_tls.clone() {
        Some(tls) => thermograph.serve_on(|listener| TlsListener::new(listener, tls)),
        None => thermograph.serve(),
    };
    let door = door.map_err(with_section)?;
    // Threads of the engine compute for whoever asked.
    let hooks = Hooks::capturing(|| {
        let label = label::here();
        Arc::new(move || label.put_on())
    });
    // Reads and prepares the models: before there is a runtime that it could block.
    let service = Service::start(config.service(), hooks)?;
    let service = started.get_or_init(|| service).clone();
    let runtime = builder.build()?;
    let tls = api_tls.iter().chain(&diagnostics_tls).cloned().collect();
    let reload = Reload::new(source, loaded, service.clone(), tls);
    runtime.block_on(serve(reload, api_tls, &service, &thermograph, &door, metrics, args))?;
    // Before the engine: what still runs there must not wait for it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    service.stop();
    tracing::info!("stopped");
    Ok(())
}

/// An error of the diagnostics, with the key of the whole configuration that it is about.
fn with_section(error: ServeError) -> anyhow::Error {
    match error {
        ServeError::Bind { field, address, source } => anyhow::Error::new(source)
            .context(format!("diagnostics.{field}: cannot listen on `{address}`")),
        error => error.into(),
    }
}

/// As many files as may be open at a time: connections, and those that everything else needs.
fn files_of(config: &Config) -> usize {
    let upstreams = config.upstreams.values().map(|upstream| upstream.max_connections);
    let connections = config.api.max_connections + server::SPARE_CONNECTIONS;
    upstreams.fold(connections + 256, usize::saturating_add)
}

async fn serve(
    reload: Reload,
    tls: Option<Tls>,
    service: &Service,
    thermograph: &Thermograph,
    door: &Door,
    metrics: PrometheusHandle,
    args: &Args,
) -> anyhow::Result<()> {
    let Loaded { config, .. } = reload.started();
    let config = config.clone();
    let (listener, api) = listen(&config.api, thermograph).await?;
    let addresses = Addresses { api, diagnostics: door.address(), console: door.console_address() };

    let stop = shutdown::on_signal()?;
    reload.start()?;
    task::spawn("metrics upkeep", keep_up(metrics));
    announce(&addresses, &config)?;
    findings::warn_if_open(config.open_address());
    if let Some(file) = &args.addresses_file {
        addresses::write(&addresses, file)?;
    }

    task::spawn("upstream health", service.clone().supervise());
    let draining = service.clone();
    let stopped = stop.requested.clone();
    task::spawn("drain", async move {
        stopped.cancelled().await;
        draining.drain();
    });
    let app = app(service, thermograph, config.api.max_connections);
    server::run(listener.with_tls(tls), app, &config.api, stop).await;
    Ok(())
}

/// Listens for clients of the API; gives the address too.
async fn listen(
    api: &Api,
    thermograph: &Thermograph,
) -> anyhow::Result<(server::Listener, Listen)> {
    let failed = || format!("api.listen: cannot listen on `{}`", api.listen);
    match &api.listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(failed)?;
            let address = listener.local_addr()?;
            // Latency counts from when a request arrived, as its client counts.
            let listener = thermograph.listener(listener);
            Ok((server::Listener::tcp(listener), address.into()))
        }
        Listen::Unix(path) => {
            let Mode(mode) = api.socket_mode;
            let socket = server::SocketFile::bind(path, mode).with_context(failed)?;
            Ok((server::Listener::unix(socket), api.listen.clone()))
        }
    }
}

/// Routers for all that a connection may ask, behind the same middleware.
fn app(service: &Service, thermograph: &Thermograph, max_connections: usize) -> server::App {
    let layered = |routes: Router| routes.layer(service.middleware(thermograph.layer()));
    let told = service.clone();
    server::App {
        routes: layered(service.routes()),
        full: layered(service.routes_when_full(max_connections)),
        bad_host: layered(service.routes_without_host()),
        on_full: Box::new(move |full| told.set_full(full)),
    }
}

/// Folds what was recorded into the histograms, so that it does not pile up while nobody scrapes.
async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        let metrics = metrics.clone();
        // After a busy while it takes long for a worker. A panic in it is reported, and no more.
        let _ = task::spawn_blocking("metrics upkeep", move || metrics.run_upkeep()).await;
    }
}

fn announce(listening: &Addresses<Listen>, config: &Config) -> anyhow::Result<()> {
    let Addresses { api, diagnostics, console } = listening;
    let [api_scheme, scheme] =
        tls_of(config)?.map(|tls| if tls.is_some() { "https" } else { "http" });
    let api = match api {
        Listen::Tcp(address) => format!("{api_scheme}://{address}"),
        Listen::Unix(_) => api.to_string(),
    };
    tracing::info!(
        api,
        diagnostics = %format_args!("{scheme}://{diagnostics}/debug/"),
        console = console.map(|console| format!("http://{console}")),
        "listening"
    );
    Ok(())
}

/// Files of the API's TLS and of that of the diagnostics.
fn tls_of(config: &Config) -> anyhow::Result<[Option<TlsFiles>; 2]> {
    config.tls().map_err(|(field, allowed)| anyhow::anyhow!("{field}: allowed is {allowed}"))
}

impl Args {
    fn flags(&self) -> Vec<Flag> {
        let flags = [
            ("listen", "api.listen", &self.listen),
            ("diagnostics-listen", "diagnostics.listen", &self.diagnostics_listen),
            ("console-listen", "diagnostics.console_listen", &self.console_listen),
        ];
        let set = flags.into_iter().filter_map(|(flag, path, value)| {
            value.as_ref().map(|value| (flag, path.to_owned(), value.as_str().into()))
        });
        let upstreams = self.upstreams.iter().enumerate().map(|(place, given)| {
            let UpstreamFlag { name, url } = given;
            let name = name.clone().unwrap_or_else(|| format!("upstream-{}", place + 1));
            let table = toml::Table::from_iter([("url".to_owned(), url.as_str().into())]);
            ("upstream", format!("upstreams.{name}"), table.into())
        });
        set.chain(upstreams).collect()
    }
}
