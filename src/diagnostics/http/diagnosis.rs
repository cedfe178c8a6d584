//! Verdicts over HTTP.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use http::HeaderMap;

use super::{HttpError, params::Params};
use crate::diagnostics::{
    Thermograph,
    capture::{Kind, Window},
    diagnosis::{Diagnosis, Exhibits},
    history::{Back, Then},
};

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Text,
    Html,
}

/// Samples of CPU time a second.
const FREQUENCY: u32 = 99;

/// `/debug/diagnosis`: over the last five minutes, at once; with `seconds` (1 to 300) over the next
/// ones, in which CPU time is captured; `format` json, text or html (json, or what `accept` asks
/// for). A capture of CPU time that runs meanwhile shares its samples, so that `force` has nothing to
/// do.
pub(crate) async fn diagnosis(
    State(thermograph): State<Thermograph>,
    Query(given): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "format", "force"])?;
    let formats = [
        ("json", "application/json", Format::Json),
        ("text", "text/plain", Format::Text),
        ("html", "text/html", Format::Html),
    ];
    let format = params.format(&headers, &formats)?;
    let window = params.window(10)?;
    let diagnosis = if params.has("seconds") {
        over(&thermograph, window).await?
    } else {
        of_the_past(&thermograph).await?
    };
    Ok(match format {
        Format::Json => Json(diagnosis).into_response(),
        Format::Html => Html(diagnosis.html()).into_response(),
        Format::Text => diagnosis.text(|_, word| word.to_owned()).into_response(),
    })
}

/// Over the next seconds, with CPU time.
async fn over(thermograph: &Thermograph, window: Window) -> Result<Diagnosis, HttpError> {
    let kind = Kind::Cpu { frequency: FREQUENCY };
    let before = thermograph.inner.history.now();
    // Where CPU time cannot be captured, the rest is known all the same.
    let (cpu, ()) = tokio::join!(
        thermograph.inner.captures.capture(kind, window),
        tokio::time::sleep(window.duration),
    );
    let after = thermograph.inner.history.now();
    let judge = move || {
        let ledger = after.ledger.since(&before.ledger).report();
        let stalls = after.stalls.since(&before.stalls);
        let (cpu, missing) = cpu.map_or_else(|error| (None, Some(error)), |cpu| (Some(cpu), None));
        let exhibits = Exhibits { ledger: &ledger, stalls: &stalls, cpu: cpu.as_ref() };
        let mut diagnosis = Diagnosis::of(&exhibits);
        let missing = missing.map(|error| format!("CPU time was not captured: {error}"));
        diagnosis.notes.extend(missing);
        diagnosis.notes.extend(after.stalls.without_stack_since(&before.stalls));
        diagnosis
    };
    judged(judge).await
}

/// Over the last five minutes, or since the start.
async fn of_the_past(thermograph: &Thermograph) -> Result<Diagnosis, HttpError> {
    let history = &thermograph.inner.history;
    let (now, before) = (history.now(), history.before(Back::FiveMinutes));
    let nothing = thermograph.inner.stalls.store().nothing();
    let judge = move || {
        let (ledger, before) = match before.as_deref() {
            Some(Then { ledger, stalls }) => (now.ledger.since(ledger).report(), stalls),
            None => (now.ledger.report(), &nothing),
        };
        let stalls = now.stalls.since(before);
        let mut diagnosis =
            Diagnosis::of(&Exhibits { ledger: &ledger, stalls: &stalls, cpu: None });
        diagnosis.notes.extend(now.stalls.without_stack_since(before));
        diagnosis
    };
    judged(judge).await
}

/// Names stacks, where that takes no time from anybody.
async fn judged(
    judge: impl FnOnce() -> Diagnosis + Send + 'static,
) -> Result<Diagnosis, HttpError> {
    let judged = tokio::task::spawn_blocking(move || {
        let diagnosis = judge();
        #[cfg(sampler)]
        crate::diagnostics::sampler::used();
        diagnosis
    });
    judged.await.map_err(|error| HttpError::internal(format!("naming failed: {error}")))
}
