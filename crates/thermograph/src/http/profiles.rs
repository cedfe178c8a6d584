//! Captures over HTTP. A capture ends when its client leaves: the future is dropped, and with it
//! the capture.

use std::{collections::HashMap, fmt::Write as _, time::SystemTime};

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, header};
use thermograph_profile::{Profile, flamegraph, flamegraph::Caption, folded, pprof};

use super::{
    HttpError,
    params::{Clipped, MAX_SECONDS, Params},
};
use crate::{
    capture::{Kind, Memory, Window},
    instance::Instance,
    profiles,
};

/// Samples that were taken but could not be kept.
const DROPPED: HeaderName = HeaderName::from_static("x-thermograph-dropped");

/// What was clipped of the request.
pub(super) const CLIPPED: HeaderName = HeaderName::from_static("x-thermograph-clipped");

/// Longest `route` that is looked for.
pub(super) const MAX_ROUTE: usize = 1024;

/// How a profile is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Pprof,
    Svg,
    Folded,
    /// What Go sends for `debug=1`: text for people.
    Text,
}

/// What is sent of a profile, and under which name.
#[derive(Debug)]
pub(super) struct Sent {
    name: &'static str,
    pub(super) format: Format,
    /// Only samples of this handler.
    route: Option<String>,
    caption: Caption,
    /// What was clipped of the request.
    pub(super) clipped: Option<Clipped>,
    /// True if it is of all time until now. Scrapers date such a profile by its time, which is
    /// when it was made, as Go has it, and not when it began.
    pub(super) is_cumulative: bool,
}

pub(super) const FORMATS: [(&str, Format); 3] =
    [("pprof", Format::Pprof), ("svg", Format::Svg), ("folded", Format::Folded)];

/// `/debug/pprof/profile`: as [`sampled`].
pub(crate) async fn cpu(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let kind = |frequency| Kind::Cpu { frequency };
    sampled(&instance, given, "profile", kind, Caption::cpu()).await
}

/// `/debug/fgprof`: as [`sampled`].
pub(crate) async fn wall(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let kind = |frequency| Kind::Wall { frequency };
    sampled(&instance, given, "fgprof", kind, Caption::wall()).await
}

/// `seconds` 1 to 300 (30), more are clipped; `frequency` in hertz 1 to 1000 (99), `format` pprof,
/// svg or folded (pprof), `route`; Go's `debug` and `gc` have no effect, as in Go. Captures that
/// overlap share the samples, so that `force` has nothing to do.
async fn sampled(
    instance: &Instance,
    given: HashMap<String, String>,
    name: &'static str,
    kind: fn(u32) -> Kind,
    caption: Caption,
) -> Result<Response, HttpError> {
    let params = Params::of_profile(given, &["seconds", "frequency", "format", "route", "force"])?;
    let (window, clipped) = params.clipped_window(30, MAX_SECONDS)?;
    let frequency = params.number("frequency", 99, 1..=1000)?;
    let sent = Sent { clipped, ..Sent::of(&params, name, caption, &FORMATS)? };
    capture(instance, kind(frequency), window, sent).await
}

/// `/debug/spans`: `seconds` 1 to 300 (10), `format` folded, svg or pprof (folded), `route`,
/// `force`.
pub(crate) async fn spans(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["seconds", "format", "route", "force"])?;
    let window = params.window(10)?;
    let formats = [("folded", Format::Folded), ("svg", Format::Svg), ("pprof", Format::Pprof)];
    let sent = Sent::of(&params, "spans", Caption::spans(), &formats)?;
    capture(&instance, Kind::Spans, window, sent).await
}

/// `/debug/pprof/block`: stalls, weighted by their time, since the start or over the next `seconds`
/// (1 to 300, more are clipped); `format` pprof, svg or folded (pprof), `route`, `debug` for text.
pub(crate) async fn block(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    stalls(&instance, given, "block", |_| ()).await
}

/// `/debug/pprof/mutex`: of `/debug/pprof/block`, the time that was spent waiting for locks.
pub(crate) async fn mutex(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    // Locks, condition variables and channels of the standard library wait by this system call.
    stalls(&instance, given, "mutex", |profile| profile.keep("syscall", "futex")).await
}

/// `/debug/pprof/heap`: memory that was allocated and still lives; as [`memory`].
pub(crate) async fn heap(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    memory(&instance, given, "heap", Memory::Live).await
}

/// `/debug/pprof/allocs`: memory that was allocated, freed or not; as [`memory`].
pub(crate) async fn allocs(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    memory(&instance, given, "allocs", Memory::Allocated).await
}

/// Without `seconds`, all since sampling began, at once: on demand it begins with the first such
/// request. Over the next `seconds` (1 to 300, more are clipped), what is allocated in them.
/// `format` pprof, svg or folded (pprof), `route`, `debug` for text; Go's `gc` does nothing, nor
/// does `force`, since captures that overlap share the samples.
async fn memory(
    instance: &Instance,
    given: HashMap<String, String>,
    name: &'static str,
    memory: Memory,
) -> Result<Response, HttpError> {
    let params =
        Params::of_profile(given, &["seconds", "debug", "format", "route", "force", "gc"])?;
    let is_text = params.debug()? != 0;
    if is_text && params.has("format") {
        let message = "debug=1 cannot be combined with format";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let (window, clipped) = params.clipped_window(10, MAX_SECONDS)?;
    let is_window = params.has("seconds");
    let caption = match memory {
        Memory::Live if is_window => Caption::heap(),
        Memory::Live => Caption::heap_so_far(),
        Memory::Allocated => Caption::allocs(),
    };
    let mut sent = Sent::of(&params, name, caption, &FORMATS)?;
    (sent.clipped, sent.is_cumulative) = (clipped, !is_window);
    if is_text {
        sent.format = Format::Text;
    }
    if is_window {
        return capture(instance, Kind::Memory(memory), window, sent).await;
    }
    let profile = instance.captures.heap().so_far(memory).await?;
    sent.respond(|| profile).await
}

async fn stalls(
    instance: &Instance,
    given: HashMap<String, String>,
    name: &'static str,
    keep: impl FnOnce(&mut Profile) + Send + 'static,
) -> Result<Response, HttpError> {
    let params = Params::of_profile(given, &["seconds", "debug", "format", "route"])?;
    let is_text = params.debug()? != 0;
    if is_text && (params.has("seconds") || params.has("format")) {
        let message = "debug=1 cannot be combined with seconds or format";
        return Err(HttpError::bad_request(message.to_owned()));
    }
    let (window, clipped) = params.clipped_window(30, MAX_SECONDS)?;
    let window = params.has("seconds").then_some(window);
    let mut sent = Sent::of(&params, name, Caption::stalls(), &FORMATS)?;
    (sent.clipped, sent.is_cumulative) = (clipped, window.is_none());
    if is_text {
        sent.format = Format::Text;
    }
    let stalls = profiles::stalls(instance, window).await;
    sent.respond(move || {
        let mut profile = stalls();
        keep(&mut profile);
        profile
    })
    .await
}

async fn capture(
    instance: &Instance,
    kind: Kind,
    window: Window,
    sent: Sent,
) -> Result<Response, HttpError> {
    let profile = instance.captures.capture(kind, window).await?;
    sent.respond(|| profile).await
}

impl Sent {
    /// The first of `formats` is the default.
    pub(super) fn of(
        params: &Params,
        name: &'static str,
        caption: Caption,
        formats: &[(&str, Format)],
    ) -> Result<Self, HttpError> {
        let format = params.choice("format", formats)?;
        let route = params.text("route", MAX_ROUTE)?;
        Ok(Self { name, format, route, caption, clipped: None, is_cumulative: false })
    }

    /// Makes the profile and draws or encodes it where that takes no time from anybody.
    pub(super) async fn respond(
        self,
        profile: impl FnOnce() -> Profile + Send + 'static,
    ) -> Result<Response, HttpError> {
        let Self { name, format, route, caption, clipped, is_cumulative } = self;
        let note = clipped.map(|clipped| clipped.note());
        let told = note.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            let mut profile = profile();
            let handler = route.as_deref().map(|route| profile.handler(route));
            if let Some(route) = route {
                profile.keep("route", &route);
            }
            let caption = caption.of(handler.as_deref());
            let dropped = profile.dropped;
            if is_cumulative && matches!(format, Format::Pprof) {
                profile.start = SystemTime::now();
            }
            let body = format.encode(&profile, &caption, note.as_deref());
            drop(profile);
            #[cfg(sampler)]
            thermograph_sampler::used();
            body.map(|body| (body, dropped))
        });
        let failed = |error: &dyn std::fmt::Display| {
            HttpError::internal(format!("the profile could not be drawn: {error}"))
        };
        let drawn = drawn.await.map_err(|error| failed(&error))?;
        let (body, dropped) = drawn.map_err(|error| failed(&error))?;
        let headers = [
            (header::CONTENT_TYPE, format.content_type().to_owned()),
            (header::CONTENT_DISPOSITION, format.disposition(name)),
            (DROPPED, dropped.to_string()),
        ];
        let clipped = told.map(|note| [(CLIPPED, note)]);
        Ok((headers, clipped, body).into_response())
    }
}

impl Format {
    fn encode(
        self,
        profile: &Profile,
        caption: &Caption,
        note: Option<&str>,
    ) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Pprof => pprof::encode_with(profile, note),
            Self::Svg => flamegraph::draw(profile, caption),
            Self::Folded => Ok(folded::fold(profile).into_bytes()),
            Self::Text => Ok(text(profile).into_bytes()),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
            Self::Folded | Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Go's tools want a download by this name; people want to look at a picture.
    fn disposition(self, name: &str) -> String {
        match self {
            Self::Pprof => format!("attachment; filename=\"{name}\""),
            Self::Svg => format!("inline; filename=\"{name}.svg\""),
            Self::Folded => format!("inline; filename=\"{name}.folded\""),
            Self::Text => format!("inline; filename=\"{name}.txt\""),
        }
    }
}

/// Each stack with its values and labels, the heaviest first.
fn text(profile: &Profile) -> String {
    let names: Vec<_> = profile.values.iter().map(|value| value.kind).collect();
    let mut samples: Vec<_> = profile.samples.iter().collect();
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.weight()));
    let mut text = format!("--- {}:\n", names.join("/"));
    // Writing to a string cannot fail.
    for sample in samples {
        let values: Vec<_> = sample.values.iter().map(i64::to_string).collect();
        let labels = sample.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let labels: Vec<_> = labels.collect();
        let _ = writeln!(text, "{} @ {}", values.join(" "), labels.join(" "));
        for frame in sample.frames() {
            let _ = writeln!(text, "#\t{}\t{}:{}", frame.name, frame.file, frame.line);
        }
        text.push('\n');
    }
    text
}
