//! Captures over HTTP. A capture ends when its client leaves: the future is dropped, and with it
//! the capture.

use std::collections::HashMap;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, header};

use super::{HttpError, params::Params};
use crate::diagnostics::{
    Thermograph,
    capture::{Kind, Window},
    flamegraph::{self, Caption},
    folded, pprof,
    profile::Profile,
};

/// Samples that were taken but could not be kept.
const DROPPED: HeaderName = HeaderName::from_static("x-thermograph-dropped");

/// How a profile is sent.
#[derive(Clone, Copy, Debug)]
enum Format {
    Pprof,
    Svg,
    Folded,
}

/// `/debug/pprof/profile`: `seconds` 1 to 300 (30), `frequency` in hertz 1 to 1000 (99),
/// `format` pprof, svg or folded (pprof), `force`.
pub(crate) async fn cpu(
    State(thermograph): State<Thermograph>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "frequency", "format", "force"])?;
    let window = params.window(30)?;
    let frequency = params.number("frequency", 99, 1..=1000)?;
    let formats = [("pprof", Format::Pprof), ("svg", Format::Svg), ("folded", Format::Folded)];
    let format = params.choice("format", &formats)?;
    let caption = Caption::cpu(window.duration.as_secs(), frequency);
    capture(&thermograph, Kind::Cpu { frequency }, window, format, "profile", caption).await
}

/// `/debug/spans`: `seconds` 1 to 300 (10), `format` folded, svg or pprof (folded), `force`.
pub(crate) async fn spans(
    State(thermograph): State<Thermograph>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "format", "force"])?;
    let window = params.window(10)?;
    let formats = [("folded", Format::Folded), ("svg", Format::Svg), ("pprof", Format::Pprof)];
    let format = params.choice("format", &formats)?;
    let caption = Caption::spans(window.duration.as_secs());
    capture(&thermograph, Kind::Spans, window, format, "spans", caption).await
}

async fn capture(
    thermograph: &Thermograph,
    kind: Kind,
    window: Window,
    format: Format,
    name: &str,
    caption: Caption,
) -> Result<Response, HttpError> {
    let profile = thermograph.inner.captures.capture(kind, window).await?;
    let dropped = profile.dropped;
    // Drawing and compressing take their time: other requests of this thread go on.
    let drawn = tokio::task::spawn_blocking(move || format.encode(&profile, &caption)).await;
    let body = drawn
        .map_err(|error| HttpError::internal(format!("drawing failed: {error}")))?
        .map_err(|error| HttpError::internal(format!("drawing failed: {error}")))?;
    let headers = [
        (header::CONTENT_TYPE, format.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, format.disposition(name)),
        (DROPPED, dropped.to_string()),
    ];
    Ok((headers, body).into_response())
}

impl Format {
    fn encode(self, profile: &Profile, caption: &Caption) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Pprof => pprof::encode(profile),
            Self::Svg => flamegraph::draw(profile, caption),
            Self::Folded => Ok(folded::fold(profile).into_bytes()),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
        }
    }

    /// Go's tools want a download by this name; people want to look at a picture.
    fn disposition(self, name: &str) -> String {
        match self {
            Self::Pprof => format!("attachment; filename=\"{name}\""),
            Self::Svg => format!("inline; filename=\"{name}.svg\""),
            Self::Folded => format!("inline; filename=\"{name}.folded\""),
        }
    }
}
