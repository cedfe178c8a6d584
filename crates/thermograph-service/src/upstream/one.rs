//! One upstream: its connections, and how it fares.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use thermograph_common::units::millis;
use tokio::time::Instant;

use super::{
    Endpoint, GatewayConfig, StartError, UpstreamConfig,
    connections::{Connections, Place, Received, Rules},
    content::Content,
    failure::Cause,
    latency::Latency,
    listed::Listed,
    meters::{PoolMeters, UpstreamMeters},
    proxy::Proxy,
    tls::Material,
};
use crate::{
    breaker::{Breaker, Pass, State},
    clock,
};

/// One upstream. What changes of it is in atomics: requests take no lock of ours.
pub(crate) struct Upstream {
    name: Arc<str>,
    /// Name in the header of answers.
    pub(super) name_header: Option<HeaderValue>,
    pub(super) config: UpstreamConfig,
    /// Contents of its files at the time when they were read.
    material: Material,
    pub(super) connections: Connections,
    /// Makes a connection for each health check: that they can be made is part of being well, and
    /// requests cannot have taken them all.
    checker: Connections,
    uris: Vec<Uri>,
    /// Asked for by health checks; `None` if the list of models is.
    pub(super) health_uri: Option<Uri>,
    pub(super) models_uri: Uri,
    /// Headers that all requests have, the key among them.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of clients that are passed on.
    pub(super) forwarded: Vec<HeaderName>,
    /// True if requests have a key of this server: a 401 is not the client's.
    pub(super) has_key: bool,
    /// Address of the proxy by which it is reached.
    pub(super) proxy: Option<String>,
    in_flight: AtomicUsize,
    latency: Latency,
    breaker: Breaker,
    /// Until when it asked to be left alone, in milliseconds of the clock.
    rests_until: AtomicU64,
    /// Relaxed: no other data depends on it, and a swap returns the value of the swap before it, so that
    /// each change is logged once.
    unwell: AtomicBool,
    /// Reason why its last health check failed, without addresses; `None` if it did not.
    pub(super) check_failure: ArcSwapOption<&'static str>,
    /// True until it refuses `stream_options`.
    takes_stream_options: AtomicBool,
    /// Whether it was checked once.
    pub(super) checked: AtomicBool,
    /// True once it has answered what models it has, and if it is not asked.
    pub(super) has_listed: AtomicBool,
    /// True once the log says what is wrong with its answers, by [`Check`].
    is_reported: [AtomicBool; 2],
    /// What it lists at `/v1/models`.
    pub(super) listed: ArcSwap<Vec<Listed>>,
    pub(super) meters: UpstreamMeters,
}

/// A request that is on its way to an upstream, from its choice to the last byte of the answer.
pub(crate) struct Busy {
    upstream: Arc<Upstream>,
    pass: Pass,
    /// Time at which the upstream was chosen.
    since: Instant,
    /// True until the answer has begun.
    is_waiting: bool,
    /// Whether it was said what became of it.
    is_told: bool,
}

/// A kind of check.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// Of `health.path`.
    Health,
    /// Of the list of models.
    Models,
}

impl Upstream {
    /// Reads the certificates to trust, which blocks.
    pub(super) fn new(
        name: &str,
        config: &UpstreamConfig,
        gateway: &GatewayConfig,
    ) -> Result<Self, StartError> {
        let bad = || StartError::Url { upstream: name.to_owned(), url: config.url.clone() };
        let base = config.base().ok_or_else(bad)?;
        let uri = |path: &str| base.below(path).ok_or_else(bad);
        let uris = Endpoint::ALL.iter().map(|endpoint| uri(endpoint.path()));
        let uris = uris.collect::<Result<Vec<_>, _>>()?;
        let health_uri = config.health.path.as_deref();
        let health_uri = health_uri.map(|path| base.at_root(path).ok_or_else(bad)).transpose()?;
        let meters = UpstreamMeters::new(name);
        meters.healthy.set(1.0);
        meters.breaker_is(State::Closed);
        let no_tls = |why| StartError::Tls { upstream: name.to_owned(), why };
        let material = Material::read(config).map_err(no_tls)?;
        let tls = material.client_config(config, base.has_tls()).map_err(no_tls)?;
        let proxy = Proxy::of(config, &uris[0]).map_err(|proxy| StartError::Proxy {
            upstream: name.to_owned(),
            proxy,
            allowed: Proxy::ALLOWED,
        })?;
        if let Some(proxy) = &proxy {
            tracing::info!(upstream = name, proxy = proxy.shown(), "reached by a proxy");
        }
        let shown_proxy = proxy.as_ref().map(Proxy::shown);
        let connections = |most, idle_timeout, meters| {
            let (tls, proxy) = (tls.clone(), proxy.clone());
            let rules = Rules { tls, http2: config.http2, most, idle_timeout, proxy };
            Connections::new(&uris[0], rules, meters).ok_or_else(bad)
        };
        Ok(Self {
            name: name.into(),
            name_header: HeaderValue::from_str(name).ok(),
            connections: connections(
                config.max_connections,
                config.idle_timeout,
                meters.pool.clone(),
            )?,
            checker: connections(1, Duration::ZERO, PoolMeters::none())?,
            uris,
            health_uri,
            models_uri: uri("/models")?,
            headers: config.own_headers(),
            forwarded: config.forwarded_headers(),
            has_key: config.has_own_key(),
            proxy: shown_proxy,
            in_flight: AtomicUsize::new(0),
            latency: Latency::default(),
            breaker: Breaker::new(gateway.breaker()),
            rests_until: AtomicU64::new(0),
            unwell: AtomicBool::new(false),
            check_failure: ArcSwapOption::empty(),
            takes_stream_options: AtomicBool::new(config.stream_usage),
            checked: AtomicBool::new(false),
            has_listed: AtomicBool::new(!config.discover),
            is_reported: Default::default(),
            listed: ArcSwap::default(),
            meters,
            material,
            config: config.clone(),
        })
    }

    /// Takes over what is known of the same server, which is configured otherwise now.
    pub(super) fn inherit(&self, before: &Self) {
        self.listed.store(before.listed.load_full());
        self.has_listed.fetch_or(before.has_listed.load(Relaxed), Relaxed);
        self.checked.store(before.checked.load(Relaxed), Relaxed);
        self.unwell.store(before.unwell.load(Relaxed), Relaxed);
        self.check_failure.store(before.check_failure.load_full());
    }

    /// Returns whether it would be the same with this configuration, whose files are read, which blocks.
    pub(super) fn is_as(&self, config: &UpstreamConfig, gateway: &GatewayConfig) -> bool {
        self.config == *config
            && self.breaker.follows(gateway.breaker())
            && Material::read(config).is_ok_and(|material| material == self.material)
    }

    /// Its name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name, to be kept by others.
    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Time from one check of its health to the next.
    pub(crate) fn check_interval(&self) -> Duration {
        self.config.health.interval
    }

    pub(super) fn uri(&self, endpoint: Endpoint) -> Uri {
        self.uris[endpoint as usize].clone()
    }

    /// Sends a request, on a connection that is free or a new one.
    pub(super) fn send(
        &self,
        place: Place,
        request: Box<Request<Content>>,
    ) -> impl Future<Output = Result<Response<Received>, Cause>> {
        self.connections.send(place, request)
    }

    /// Sends a request that is ours, on a connection of its own.
    pub(super) async fn ask(
        &self,
        mut request: Box<Request<Content>>,
    ) -> Result<Response<Received>, Cause> {
        self.authorize(request.headers_mut());
        let place = self.checker.place().await;
        self.checker.send(place, request).await
    }

    /// Adds the headers that all its requests have.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Whether a request would be let through now.
    pub(super) fn is_available(&self) -> bool {
        self.only_rests_for().is_some_and(|rest| rest.is_zero())
    }

    /// Whether its breaker wants one request to try.
    pub(super) fn wants_trial(&self) -> bool {
        self.breaker.state() == State::HalfOpen
    }

    /// Returns whether streams are asked for their usage.
    pub(super) fn takes_stream_options(&self) -> bool {
        self.takes_stream_options.load(Relaxed)
    }

    /// It has refused to be asked for the usage of a stream.
    pub(super) fn refuses_stream_options(&self) {
        if self.takes_stream_options.swap(false, Relaxed) {
            let upstream = self.name();
            tracing::warn!(upstream, "stream_options refused: usage of its streams is estimated");
        }
    }

    /// Whether its health checks go well.
    pub(super) fn is_well(&self) -> bool {
        !self.unwell.load(Relaxed)
    }

    pub(super) fn set_well(&self) {
        self.check_failure.store(None);
        if self.unwell.swap(false, Relaxed) {
            self.latency.forget();
            tracing::info!(upstream = self.name(), "is well again");
        }
        self.meters.healthy.set(1.0);
    }

    /// Its health checks fail, the last one with this error.
    pub(super) fn set_unwell(&self, error: &str) {
        if !self.unwell.swap(true, Relaxed) {
            tracing::warn!(upstream = self.name(), error, "is unwell: its health checks fail");
        }
        self.meters.healthy.set(0.0);
    }

    /// Reason why its last health check failed, without addresses, in parentheses after a blank; empty
    /// if it did not.
    pub(crate) fn why_unlisted(&self) -> String {
        self.check_failure.load().as_ref().map(|told| format!(" ({told})")).unwrap_or_default()
    }

    /// Logs what is wrong with its answers to a kind of check; once, since checks are many.
    pub(super) fn report(&self, check: Check, problem: &str) {
        if !self.is_reported[check as usize].swap(true, Relaxed) {
            tracing::warn!(upstream = self.name(), problem, "unexpected answer to a check");
        }
    }

    /// How long it wants to be left alone, or has to be.
    pub(super) fn back_in(&self) -> Duration {
        self.rests_for().max(self.breaker.opens_in())
    }

    /// How long it wants to be left alone, where nothing else speaks against it.
    pub(super) fn only_rests_for(&self) -> Option<Duration> {
        let is_fit = self.is_well() && self.breaker.state() != State::Open;
        is_fit.then(|| self.rests_for())
    }

    fn rests_for(&self) -> Duration {
        match self.rests_until.load(Relaxed) {
            0 => Duration::ZERO,
            until => Duration::from_millis(until.saturating_sub(clock::now())),
        }
    }

    /// It has asked to be left alone for a while.
    pub(super) fn rest(&self, wait: Duration) {
        let wait = millis(wait.min(Self::LONGEST_REST));
        self.rests_until.fetch_max(clock::now().saturating_add(wait), Relaxed);
    }

    /// Longest time that an upstream is left alone because it said so.
    const LONGEST_REST: Duration = Duration::from_mins(2);

    /// Takes a request on, unless its breaker is open.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Busy> {
        let pass = self.breaker.enter()?;
        self.in_flight.fetch_add(1, Relaxed);
        // Not set: who has its name after a change of the configuration counts with it.
        self.meters.in_flight.increment(1.0);
        let (upstream, since) = (Arc::clone(self), Instant::now());
        Some(Busy { upstream, pass, since, is_waiting: true, is_told: false })
    }

    /// Requests that it has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// How long it takes to answer, where that was measured; a microsecond at least.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.latency.seconds().map(|seconds| seconds.max(1e-6))
    }

    /// Keeps the gauge of the breaker right while nobody asks.
    pub(super) fn show_breaker(&self) {
        self.meters.breaker_is(self.breaker.state());
    }
}

impl Busy {
    /// What a failure counts as in the time to answer, at least.
    const PENALTY: Duration = Duration::from_secs(1);

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Time at which the upstream was chosen.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Its answer began, after this time.
    pub(super) fn began(&mut self, took: Duration) {
        let upstream = &self.upstream;
        // Others wait for what comes of it.
        if self.pass == Pass::Trial {
            upstream.breaker.succeeded(self.pass);
            upstream.latency.forget();
            upstream.show_breaker();
            tracing::info!(upstream = upstream.name(), "the breaker is closed again");
            self.pass = Pass::Usual;
        }
        upstream.latency.observe(took);
        self.is_waiting = false;
    }

    /// Its answer is whole.
    pub(super) fn ended(&mut self) {
        if !self.is_told {
            self.is_told = true;
            self.upstream.meters.answered.increment(1);
            self.succeeded();
        }
    }

    /// An answer that began did not break off.
    fn succeeded(&self) {
        if !self.is_waiting {
            self.upstream.breaker.succeeded(self.pass);
        }
    }

    /// It answered that the request is no good, which says nothing of how it fares otherwise.
    pub(super) fn refused(&mut self, took: Duration) {
        // A breaker that lets one request try has learned what it wanted to know.
        if self.pass == Pass::Trial {
            self.began(took);
        }
        self.ended();
    }

    /// It failed.
    pub(super) fn failed(&mut self, cause: &Cause, took: Duration) {
        self.is_told = true;
        let upstream = &self.upstream;
        upstream.meters.failed(cause);
        if !cause.is_fault() {
            let has_answered = matches!(
                cause,
                Cause::Status(_)
                    | Cause::Elsewhere(_)
                    | Cause::Unauthorized
                    | Cause::StreamOptions
                    | Cause::ErrorEvent(_)
            );
            if has_answered && self.pass == Pass::Trial {
                upstream.breaker.succeeded(self.pass);
                upstream.show_breaker();
            }
            return;
        }
        // What fails fast must not look fast.
        upstream.latency.observe(took.max(Self::PENALTY));
        if upstream.breaker.failed(self.pass) {
            upstream.meters.opened.increment(1);
            let upstream = upstream.name();
            tracing::warn!(upstream, %cause, "the breaker is open: it failed too often");
        }
        upstream.show_breaker();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.upstream.in_flight.fetch_sub(1, Relaxed);
        self.upstream.meters.in_flight.decrement(1.0);
        if !self.is_told {
            self.upstream.meters.left.increment(1);
            self.succeeded();
            if self.is_waiting {
                self.upstream.latency.observe_at_least(self.since.elapsed());
            }
        }
    }
}
