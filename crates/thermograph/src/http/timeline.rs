//! Timelines over HTTP. A recording ends when its client leaves.

use std::collections::HashMap;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use jiff::Timestamp;

use super::{HttpError, params::Params, profiles::CLIPPED};
use crate::{instance::Instance, timeline};

/// `/debug/pprof/trace`: `seconds` up to 60 (5), fractions too, more are clipped; `format` json, or
/// gzip for a file; `force`; Go's `debug` and `gc` have no effect, as in Go. JSON is compressed on
/// its way where the client takes that. It is for Perfetto: `go tool trace` reads Go's own only.
pub(crate) async fn trace(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::of_profile(given, &["seconds", "format", "force"])?;
    let (window, clipped) = params.clipped_fraction(5.0, (0.1, 60.0))?;
    let is_file = params.choice("format", &[("json", false), ("gzip", true)])?;
    let is_compressed = is_file || takes_gzip(&headers);
    let began = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let trace = timeline::record(&instance, window).await?;
    let written = tokio::task::spawn_blocking(move || {
        let written = if is_compressed { trace.gzip() } else { trace.json() };
        drop(trace);
        #[cfg(sampler)]
        thermograph_sampler::used();
        written
    });
    let failed = |error: &dyn std::fmt::Display| {
        HttpError::internal(format!("the trace could not be written: {error}"))
    };
    let written = written.await.map_err(|error| failed(&error))?;
    let body = written.map_err(|error| failed(&error))?;
    let (kind, ending) =
        if is_file { ("application/gzip", ".gz") } else { ("application/json", "") };
    let name = format!("attachment; filename=\"{began}-trace.json{ending}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    let encoding = (is_compressed && !is_file).then_some([(header::CONTENT_ENCODING, "gzip")]);
    let clipped = clipped.map(|clipped| [(CLIPPED, clipped.note())]);
    Ok((headers, encoding, clipped, body).into_response())
}

/// Whether the client says that it takes gzip, and does not say that it would rather not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut words = accepted.filter_map(|value| value.to_str().ok()).flat_map(|s| s.split(','));
    words.any(|word| {
        let (name, weight) = word.split_once(';').unwrap_or((word, ""));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
        name.trim() == "gzip" && weight.is_ok_and(|weight| weight > 0.0) | !word.contains(';')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let takes = |said: &'static str| {
            let said = http::HeaderValue::from_static(said);
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, said)]))
        };
        assert!(takes("gzip") && takes("br, gzip;q=0.5") && takes("deflate,gzip"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("identity") && !takes(""));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
