//! Logs to the standard error stream, and the subscriber that everything traces to.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::config::{Log, LogFormat};
use crate::diagnostics::Thermograph;

/// Upper bounds of the buckets of histograms in seconds: 100 µs to 30 s.
const SECONDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// Upper bounds of the buckets of other histograms, such as sizes.
const SIZES: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0];

/// Installs the subscriber of the process.
pub(crate) fn init(log: &Log, thermograph: &Thermograph) -> anyhow::Result<()> {
    // Checked when the configuration was loaded.
    let filter = EnvFilter::try_new(&log.filter)?;
    let text = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if text {
        lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed()
    } else {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(lines).with(thermograph.tracing_layer()).try_init()?;
    Ok(())
}

/// Installs the recorder of the process's metrics; the handle renders them.
pub(crate) fn metrics() -> Result<PrometheusHandle, BuildError> {
    use metrics_exporter_prometheus::Matcher;
    PrometheusBuilder::new()
        .set_buckets(&SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}
