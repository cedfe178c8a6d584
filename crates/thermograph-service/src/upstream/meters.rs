//! The metrics of upstreams and of what is passed on to them.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{Endpoint, failure::Cause};
use crate::{breaker::State, usage::Usage};

/// Metrics of the connections to one upstream.
#[derive(Clone)]
pub(super) struct PoolMeters {
    pub(super) opened: Counter,
    pub(super) open: Gauge,
    pub(super) reused: Counter,
}

/// Metrics of one upstream.
pub(super) struct UpstreamMeters {
    pub(super) pool: PoolMeters,
    pub(super) in_flight: Gauge,
    pub(super) answered: Counter,
    pub(super) left: Counter,
    pub(super) breaker: Gauge,
    pub(super) opened: Counter,
    pub(super) healthy: Gauge,
    name: String,
}

/// Metrics of one model, for each operation that was asked of it.
pub(crate) struct ModelMeters {
    model: String,
    operations: [OnceLock<OperationMeters>; Endpoint::COUNT],
}

/// Metrics of one operation of one model.
pub(crate) struct OperationMeters {
    duration: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
    pub(super) gap: Histogram,
    pub(super) overhead: Histogram,
    labels: [(&'static str, String); 2],
}

impl PoolMeters {
    /// Of connections that nobody counts.
    pub(super) fn none() -> Self {
        Self { opened: Counter::noop(), open: Gauge::noop(), reused: Counter::noop() }
    }
}

impl UpstreamMeters {
    pub(super) fn new(name: &str) -> Self {
        let labels = [("upstream", name.to_owned())];
        let pool = PoolMeters {
            opened: metrics::counter!("thermograph_upstream_connections_opened_total", &labels),
            open: metrics::gauge!("thermograph_upstream_connections", &labels),
            reused: metrics::counter!("thermograph_upstream_connections_reused_total", &labels),
        };
        let outcome = |outcome: &'static str| {
            let labels = [("upstream", name.to_owned()), ("outcome", outcome.to_owned())];
            metrics::counter!("thermograph_upstream_requests_total", &labels)
        };
        Self {
            pool,
            in_flight: metrics::gauge!("thermograph_upstream_in_flight", &labels),
            answered: outcome("answered"),
            left: outcome("left"),
            breaker: metrics::gauge!("thermograph_upstream_breaker", &labels),
            opened: metrics::counter!("thermograph_upstream_breaker_opened_total", &labels),
            healthy: metrics::gauge!("thermograph_upstream_healthy", &labels),
            name: name.to_owned(),
        }
    }

    /// Counts a failure. Looked up each time: they are few.
    pub(super) fn failed(&self, cause: &Cause) {
        let labels = [("upstream", self.name.clone()), ("outcome", cause.outcome().to_owned())];
        metrics::counter!("thermograph_upstream_requests_total", &labels).increment(1);
    }

    pub(super) fn breaker_is(&self, state: State) {
        self.breaker.set(match state {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        });
    }
}

impl ModelMeters {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), operations: Default::default() }
    }

    pub(super) fn of(&self, endpoint: Endpoint) -> &OperationMeters {
        let make = || OperationMeters::new(&self.model, endpoint.operation());
        self.operations[endpoint as usize].get_or_init(make)
    }

    /// Counts a request that is tried again, and why.
    pub(super) fn retried(&self, cause: &Cause) {
        self.count("thermograph_gateway_retries_total", cause.outcome());
    }

    /// Counts a request that would have been tried again, had the budget allowed it.
    pub(super) fn not_retried(&self) {
        self.count("thermograph_gateway_retries_refused_total", "budget");
    }

    /// Counts a request for which a second upstream was asked.
    pub(super) fn hedged(&self) {
        self.count("thermograph_gateway_hedges_total", "slow");
    }

    fn count(&self, name: &'static str, reason: &'static str) {
        let labels = [("model", self.model.clone()), ("reason", reason.to_owned())];
        metrics::counter!(name, &labels).increment(1);
    }
}

impl OperationMeters {
    fn new(model: &str, operation: &str) -> Self {
        let labels = [
            ("gen_ai_operation_name", operation.to_owned()),
            ("gen_ai_request_model", model.to_owned()),
        ];
        let tokens = |kind: &'static str| {
            let [operation, model] = labels.clone();
            let labels = [operation, model, ("gen_ai_token_type", kind.to_owned())];
            metrics::histogram!("gen_ai_client_token_usage", &labels)
        };
        let own = [("operation", operation.to_owned()), ("model", model.to_owned())];
        Self {
            duration: metrics::histogram!("gen_ai_server_request_duration_seconds", &labels),
            first_token: metrics::histogram!("gen_ai_server_time_to_first_token_seconds", &labels),
            per_token: metrics::histogram!("gen_ai_server_time_per_output_token_seconds", &labels),
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
            gap: metrics::histogram!("thermograph_stream_gap_seconds", &own),
            overhead: metrics::histogram!("thermograph_gateway_overhead_seconds", &own),
            labels,
        }
    }

    /// A request was answered whole.
    pub(super) fn answered(&self, took: Duration, usage: &Usage) {
        self.duration.record(took);
        if usage.is_estimated {
            return;
        }
        self.input_tokens.record(usage.prompt_tokens as f64);
        if usage.completion_tokens > 0 {
            self.output_tokens.record(usage.completion_tokens as f64);
        }
    }

    /// A stream began.
    pub(super) fn began(&self, after: Duration) {
        self.first_token.record(after);
    }

    /// A stream of so many tokens ended.
    pub(super) fn streamed(&self, first_to_last: Duration, tokens: u64) {
        if tokens > 1 {
            self.per_token.record(first_to_last.as_secs_f64() / (tokens - 1) as f64);
        }
    }

    /// A request failed. Looked up each time: they are few.
    pub(super) fn failed(&self, took: Duration, error: &str) {
        let [operation, model] = self.labels.clone();
        let labels = [operation, model, ("error_type", error.to_owned())];
        metrics::histogram!("gen_ai_server_request_duration_seconds", &labels).record(took);
    }
}

/// Tells the recorder what the metrics mean.
pub(super) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    let histograms = [
        ("gen_ai_server_request_duration_seconds", "Time of a request, to the last byte."),
        ("gen_ai_server_time_to_first_token_seconds", "Time to the first event of a stream."),
        (
            "gen_ai_server_time_per_output_token_seconds",
            "Time of a stream after its first event, by token.",
        ),
        ("thermograph_stream_gap_seconds", "Time from one piece of a stream to the next."),
        (
            "thermograph_gateway_overhead_seconds",
            "Time of a request until its answer begins, less that of the upstream.",
        ),
    ];
    for (name, help) in histograms {
        describe_histogram!(name, Unit::Seconds, help);
    }
    let help = "Tokens of a request and its answer, if its upstream has reported them.";
    describe_histogram!("gen_ai_client_token_usage", Unit::Count, help);
    let counters = [
        ("thermograph_upstream_connections_opened_total", "Connections opened."),
        ("thermograph_upstream_connections_reused_total", "Requests on a connection used before."),
        ("thermograph_upstream_requests_total", "Requests to an upstream, by what became of them."),
        ("thermograph_upstream_breaker_opened_total", "How often the breaker opened."),
        ("thermograph_gateway_retries_total", "Requests tried again, by why."),
        ("thermograph_gateway_retries_refused_total", "Requests not tried again: no budget left."),
        ("thermograph_gateway_hedges_total", "Requests for which a second upstream was asked."),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
    let gauges = [
        ("thermograph_upstream_connections", "Open connections."),
        ("thermograph_upstream_in_flight", "Requests on their way, streams to their end."),
        ("thermograph_upstream_breaker", "Breaker: 0 closed, 1 half-open, 2 open."),
        ("thermograph_upstream_healthy", "Whether the last health checks went well."),
    ];
    for (name, help) in gauges {
        describe_gauge!(name, Unit::Count, help);
    }
}
