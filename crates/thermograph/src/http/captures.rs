//! Captures that are kept, over HTTP: take one, list, show, compare and delete them.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use thermograph_profile::{
    Profile,
    captures::{
        CapturesError, Entry, Folder, Form, Forms, Kind, Name, Side, draw_difference, parse,
    },
    flamegraph::Caption,
};

use super::{HttpError, params::Params, profiles::MAX_ROUTE};
use crate::{
    instance::Instance,
    log,
    profiles::{self, CaptureKind},
};

/// Longest text that is looked at as a name.
const MAX_NAME: usize = 256;

/// What can be asked for. A kind that is added has its line here, and is captured by [`profiles::capture`].
const KINDS: [(&str, Asked); 6] = [
    ("cpu", Asked { kind: Kind::Cpu, source: CaptureKind::Cpu, caption: Caption::cpu }),
    ("wall", Asked { kind: Kind::Wall, source: CaptureKind::Wall, caption: Caption::wall }),
    ("stalls", Asked { kind: Kind::Stalls, source: CaptureKind::Stalls, caption: Caption::stalls }),
    ("heap", Asked { kind: Kind::Heap, source: CaptureKind::Heap, caption: Caption::heap }),
    ("allocs", Asked { kind: Kind::Allocs, source: CaptureKind::Allocs, caption: Caption::allocs }),
    ("spans", Asked { kind: Kind::Spans, source: CaptureKind::Spans, caption: Caption::spans }),
];

/// A kind of capture, and how it comes about.
#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: Kind,
    source: CaptureKind,
    caption: fn() -> Caption,
}

/// What was taken.
#[derive(Debug, Serialize)]
struct Taken {
    name: String,
    kind: &'static str,
    handler: Option<String>,
    time: String,
    /// How long the window was.
    seconds: f64,
    samples: u64,
    dropped: u64,
    /// Paths from the folder on; none where it was not saved.
    files: Vec<String>,
    /// Ends of the names that it can be read by.
    forms: Vec<&'static str>,
    /// Why it was not saved: it is in memory then.
    not_saved: Option<String>,
}

/// What is there.
#[derive(Debug, Serialize)]
struct Listing {
    folder: String,
    max_captures: usize,
    captures: Vec<Listed>,
    /// Why the folder cannot be read.
    unreadable: Option<String>,
}

/// A capture that can be read.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    entry: Entry,
    /// As of [`Taken`].
    forms: Vec<&'static str>,
    not_saved: Option<String>,
}

/// `POST /debug/captures`: takes a capture and saves it; where it cannot be written, the newest few
/// are kept in memory, and the answer says why (`not_saved`). `kind` cpu, wall, stalls, heap, allocs or spans,
/// `seconds` 1 to 300 (10), `frequency` in hertz 1 to 1000 (99) for cpu and wall, `route`, `force`.
pub(crate) async fn take(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["kind", "seconds", "frequency", "route", "force"])?;
    let asked = params.choice("kind", &KINDS)?;
    if !params.has("kind") {
        let kinds = KINDS.map(|(name, _)| name).join(", ");
        return Err(HttpError::bad_request(format!("kind: one is wanted of {kinds}")));
    }
    let (window, frequency) = (params.window(10)?, params.number("frequency", 99, 1..=1000)?);
    let route = params.text("route", MAX_ROUTE)?;
    let folder = Arc::clone(&instance.folder);
    // Before anything is captured: the client need not wait for what is refused.
    blocking(move || Ok(folder.check_bound()?)).await?;
    let profile = profiles::capture(&instance, asked.source, frequency, window).await?;
    let folder = Arc::clone(&instance.folder);
    let taken = blocking(move || {
        let kept = keep(&folder, asked, route.as_deref(), profile());
        #[cfg(sampler)]
        thermograph_sampler::used();
        kept
    });
    let taken = taken.await?;
    let status = if taken.not_saved.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(taken)).into_response())
}

fn keep(
    folder: &Folder,
    Asked { kind, caption, .. }: Asked,
    route: Option<&str>,
    mut profile: Profile,
) -> Result<Taken, HttpError> {
    let handler = route.map(|route| profile.handler(route));
    if let Some(route) = route {
        profile.keep("route", route);
    }
    let name = Name::new(profile.start, kind, handler.as_deref());
    let failed = |error: std::io::Error| {
        HttpError::internal(format!("the profile could not be drawn: {error}"))
    };
    let forms = Forms::of(&profile, &caption().of(handler.as_deref())).map_err(failed)?;
    let endings = forms.each().map(|(form, _)| form.ending()).to_vec();
    let files = |name: &Name| forms.each().iter().map(|(form, _)| form.file(name)).collect();
    let (name, files, not_saved) = match folder.save(name.clone(), &forms.each()) {
        Ok(name) => (name.clone(), files(&name), None),
        Err(error @ CapturesError::Full { .. }) => return Err(error.into()),
        Err(error) => {
            let why = error.to_string();
            let reason = why.clone();
            log::submit(move || tracing::warn!(reason, "a capture is kept in memory only"));
            (folder.keep_unsaved(name, forms, why.clone()), Vec::new(), Some(why))
        }
    };
    Ok(Taken {
        kind: kind.name(),
        handler: name.handler().map(str::to_owned),
        time: name.time(),
        seconds: profile.duration.as_secs_f64(),
        samples: profile.count().0,
        dropped: profile.dropped,
        files,
        forms: endings,
        not_saved,
        name: name.to_string(),
    })
}

/// `GET /debug/captures`: what is kept, the newest first; with `not_saved`, in memory only.
pub(crate) async fn list(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    Params::new(given, &[])?;
    let folder = Arc::clone(&instance.folder);
    let max_captures = instance.config.max_captures;
    let listing = blocking(move || {
        let unsaved = folder.unsaved();
        let (saved, unreadable) = match folder.list() {
            Ok(saved) => (saved, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let saved = saved.into_iter().map(|entry| Listed {
            forms: entry.files.iter().filter_map(|file| Form::of(file)).map(Form::ending).collect(),
            not_saved: None,
            entry,
        });
        let unsaved = unsaved.iter().map(|capture| Listed {
            entry: capture.entry(),
            forms: capture.endings(),
            not_saved: Some(capture.why.clone()),
        });
        let mut captures: Vec<_> = saved.chain(unsaved).collect();
        captures.sort_by(|a, b| b.entry.name.cmp(&a.entry.name));
        let folder = folder.root().display().to_string();
        Ok(Listing { folder, max_captures, captures, unreadable })
    });
    Ok(Json(listing.await?).into_response())
}

/// `GET /debug/captures/NAME.svg`, `.pb.gz`, `.folded` or `.json.gz`: the file.
pub(crate) async fn file(
    State(instance): State<Instance>,
    Path(file): Path<String>,
) -> Result<Response, HttpError> {
    // What is no name of a file may be one of a capture: then its ending is missing.
    let Some((name, form)) = parse(&file) else {
        let name = file.split('.').next().unwrap_or_default();
        name.parse::<Name>()?;
        let message =
            format!("`{file}` is not allowed: .svg, .pb.gz, .folded or .json.gz is wanted");
        return Err(HttpError::bad_request(message));
    };
    let folder = Arc::clone(&instance.folder);
    let bytes = blocking(move || Ok(folder.read(&name, form)?)).await?;
    let (content_type, disposition) = match form {
        Form::Svg => ("image/svg+xml", "inline"),
        Form::Folded => ("text/plain; charset=utf-8", "inline"),
        Form::Pprof | Form::Json => ("application/octet-stream", "attachment"),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        // Its name has no character that must be escaped.
        (header::CONTENT_DISPOSITION, format!("{disposition}; filename=\"{file}\"")),
    ];
    Ok((headers, bytes).into_response())
}

/// `DELETE /debug/captures/NAME`: removes it in all its forms.
pub(crate) async fn delete(
    State(instance): State<Instance>,
    Path(name): Path<String>,
) -> Result<StatusCode, HttpError> {
    let name: Name = name.parse()?;
    let folder = Arc::clone(&instance.folder);
    blocking(move || Ok(folder.delete(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /debug/diff`: what changed from the capture `before` to the capture `after`, as a picture.
pub(crate) async fn diff(
    State(instance): State<Instance>,
    Query(given): Query<HashMap<String, String>>,
) -> Result<Response, HttpError> {
    let params = Params::new(given, &["before", "after"])?;
    let (before, after) = (name(&params, "before")?, name(&params, "after")?);
    let folder = Arc::clone(&instance.folder);
    let drawn = blocking(move || {
        let profiles = [folder.profile(&before)?, folder.profile(&after)?];
        let names = [before.to_string(), after.to_string()];
        let [first, second] = [0, 1].map(|at| Side { name: &names[at], profile: &profiles[at] });
        Ok(draw_difference(first, second)?)
    });
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], drawn.await?).into_response())
}

fn name(params: &Params, parameter: &str) -> Result<Name, HttpError> {
    let text = params.text(parameter, MAX_NAME)?;
    let wanted = || HttpError::bad_request(format!("{parameter}: the name of a capture is wanted"));
    let named = text.ok_or_else(wanted)?.parse::<Name>();
    named.map_err(|error| HttpError::bad_request(format!("{parameter}: {error}")))
}

/// Does what takes its time where that takes no time from anybody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| HttpError::internal(format!("a thread broke: {error}")))?
}
