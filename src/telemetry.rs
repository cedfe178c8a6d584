//! Logs to the standard error stream, and the subscriber that everything traces to.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::config::{Log, LogFormat};
use thermograph::Thermograph;

/// Upper bounds of the buckets of histograms in seconds: 100 µs to 30 s.
const SECONDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// Those of the gateway's own time: 10 µs to 1 s.
const OVERHEAD: [f64; 14] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_075, 0.000_1, 0.000_15, 0.000_25, 0.000_5, 0.001, 0.0025,
    0.01, 0.05, 0.25, 1.0,
];
/// Those that OpenTelemetry's conventions advise for generative AI.
const GEN_AI: [(&str, &[f64]); 4] = [
    (
        "gen_ai_server_request_duration_seconds",
        &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    ),
    (
        "gen_ai_server_time_to_first_token_seconds",
        &[
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
            10.0,
        ],
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5],
    ),
    (
        "gen_ai_client_token_usage",
        &[
            1.0,
            4.0,
            16.0,
            64.0,
            256.0,
            1024.0,
            4096.0,
            16384.0,
            65536.0,
            262_144.0,
            1_048_576.0,
            4_194_304.0,
            16_777_216.0,
            67_108_864.0,
        ],
    ),
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
    let mut builder = PrometheusBuilder::new()
        .set_buckets(&SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    let overhead = ("thermograph_gateway_overhead_seconds", &OVERHEAD[..]);
    for (name, bounds) in GEN_AI.into_iter().chain([overhead]) {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
    }
    builder.install_recorder()
}
