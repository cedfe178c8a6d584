//! The engine's metrics, one set for each model.

use metrics::{Counter, Gauge, Histogram};

/// Handles, looked up once.
#[derive(Clone)]
pub(super) struct Meters {
    pub(super) tokenize: Histogram,
    pub(super) queue: Histogram,
    pub(super) infer: Histogram,
    pub(super) batch_inputs: Histogram,
    pub(super) batch_tokens: Histogram,
    pub(super) inputs: Counter,
    pub(super) tokens: Counter,
    /// Tokens that were padding: work for nothing.
    pub(super) padding: Counter,
    pub(super) truncated: Counter,
    pub(super) rejected: Counter,
    pub(super) dropped: Counter,
    pub(super) failed: Counter,
    pub(super) waiting: Gauge,
}

impl Meters {
    pub(super) fn new(model: &str) -> Self {
        let model = model.to_owned();
        let labels = [("model", model)];
        Self {
            tokenize: metrics::histogram!("thermograph_engine_tokenize_seconds", &labels),
            queue: metrics::histogram!("thermograph_engine_queue_seconds", &labels),
            infer: metrics::histogram!("thermograph_engine_infer_seconds", &labels),
            batch_inputs: metrics::histogram!("thermograph_engine_batch_inputs", &labels),
            batch_tokens: metrics::histogram!("thermograph_engine_batch_tokens", &labels),
            inputs: metrics::counter!("thermograph_engine_inputs_total", &labels),
            tokens: metrics::counter!("thermograph_engine_tokens_total", &labels),
            padding: metrics::counter!("thermograph_engine_padding_tokens_total", &labels),
            truncated: metrics::counter!("thermograph_engine_cut_inputs_total", &labels),
            rejected: metrics::counter!("thermograph_engine_rejected_inputs_total", &labels),
            dropped: metrics::counter!("thermograph_engine_dropped_inputs_total", &labels),
            failed: metrics::counter!("thermograph_engine_failed_inputs_total", &labels),
            waiting: metrics::gauge!("thermograph_engine_waiting_inputs", &labels),
        }
    }
}

/// Tells the recorder what the metrics mean.
pub(super) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    let seconds = [
        ("tokenize", "Time to turn a request's inputs into tokens."),
        ("queue", "Longest time that an input of a request waited."),
        ("infer", "Time of one batch in the model."),
    ];
    for (name, help) in seconds {
        describe_histogram!(format!("thermograph_engine_{name}_seconds"), Unit::Seconds, help);
    }
    describe_histogram!("thermograph_engine_batch_inputs", Unit::Count, "Inputs of a batch.");
    describe_histogram!("thermograph_engine_batch_tokens", Unit::Count, "Tokens of a batch.");
    let counters = [
        ("inputs", "Inputs that became vectors."),
        ("tokens", "Tokens of inputs that became vectors, without padding."),
        ("padding_tokens", "Tokens that filled up batches."),
        ("cut_inputs", "Inputs cut to the longest that the model reads."),
        ("rejected_inputs", "Inputs refused because the queue was full."),
        ("dropped_inputs", "Inputs dropped because nobody waited for them any more."),
        ("failed_inputs", "Inputs that a fault of the engine left without a vector."),
    ];
    for (name, help) in counters {
        describe_counter!(format!("thermograph_engine_{name}_total"), Unit::Count, help);
    }
    describe_gauge!("thermograph_engine_waiting_inputs", Unit::Count, "Inputs on their way.");
}
