//! What there is: the links of the page, and the table of profiles.

use axum::response::{Html, IntoResponse, Redirect};
use http::header;

use crate::html_escape::escape;

/// A line of the index: where it leads, and what is there.
type Link = (&'static str, &'static str);

const HANDLERS: [Link; 6] = [
    ("/debug/diagnosis?format=text&seconds=10", "verdicts over the next 10 seconds"),
    ("/debug/handlers?format=text", "what each handler has cost since the start"),
    ("/debug/handlers?format=text&seconds=10", "the same over the next 10 seconds"),
    ("/debug/handlers", "the same as JSON"),
    ("/debug/stalls?format=text", "the newest polls over the threshold, with their stacks"),
    ("/debug/tasks?format=text", "every live task, and whose work it does"),
];
const PICTURES: [Link; 5] = [
    ("/debug/pprof/block?format=svg", "stalls since the start, by where they stood"),
    ("/debug/pprof/profile?seconds=10&format=svg", "CPU time by stack, 10 seconds"),
    (
        "/debug/fgprof?seconds=10&format=svg",
        "wall-clock time in polls, on a processor and off, 10 seconds",
    ),
    ("/debug/spans?seconds=10&format=svg", "time in spans, 10 seconds"),
    ("/debug/pprof/heap?seconds=10&format=svg", "memory that is allocated and kept, 10 seconds"),
];
const TOOLS: [Link; 9] = [
    ("/debug/memory?format=text", "where the memory is: allocated, fragmented, kept, elsewhere"),
    ("/debug/doctor?format=text", "what this build and machine can show"),
    ("/debug/captures", "what is saved, as JSON"),
    ("/debug/pprof/", "profiles for go tool pprof and Pyroscope"),
    ("/debug/pprof/profile?seconds=10&format=folded", "CPU time as folded stacks, 10 seconds"),
    (
        "/debug/stalls",
        "the newest stalls as JSON, or with `accept: text/event-stream` those to come",
    ),
    ("/debug/spans?seconds=10", "spans as folded stacks, 10 seconds"),
    ("/debug/pprof/trace?seconds=10", "what every worker polls, for Perfetto, 10 seconds"),
    ("/metrics", "Prometheus"),
];

pub(crate) async fn to_debug() -> Redirect {
    Redirect::permanent("/debug/")
}

pub(crate) async fn to_pprof() -> Redirect {
    Redirect::permanent("/debug/pprof/")
}

/// Links to everything, by what they are for.
pub(crate) fn links() -> String {
    let sections = [("Handlers", &HANDLERS[..]), ("Flame graphs", &PICTURES), ("Tools", &TOOLS)];
    let item = |(path, what): &Link| {
        let path = escape(path);
        format!("<li><a href=\"{path}\">{path}</a> <span>{what}</span></li>")
    };
    let section = |(title, links): &(&str, &[Link])| {
        let items: String = links.iter().map(item).collect();
        format!("<h3>{title}</h3><ul class=\"links\">{items}</ul>")
    };
    sections.iter().map(section).collect()
}

pub(crate) async fn pprof() -> Html<String> {
    let profiles = [
        (
            "/debug/pprof/profile",
            "CPU time; seconds (30), frequency (99), format=pprof|svg|folded, route, force",
        ),
        (
            "/debug/pprof/block",
            "stalls by their time, since the start or over seconds; format, route, debug=1",
        ),
        ("/debug/pprof/mutex", "of these, what waited for locks; as block"),
        (
            "/debug/pprof/heap",
            "memory that is in use, since sampling began or over seconds; format, route, debug=1",
        ),
        ("/debug/pprof/allocs", "memory that is allocated, freed or not; as heap"),
        ("/debug/pprof/goroutine", "every live task; debug=1 or 2"),
        ("/debug/pprof/threadcreate", "threads by name; debug=1"),
        ("/debug/pprof/trace", "what every worker polls, for Perfetto; seconds"),
        ("/debug/pprof/cmdline", "the command line"),
        ("/debug/pprof/symbol", "names of addresses: ?0x1234+0x5678"),
        ("/debug/fgprof", "wall-clock time in polls, on a processor and off; as profile"),
    ];
    Html(format!("{HEAD}{}", section("Profiles", &profiles)))
}

pub(crate) async fn cmdline() -> impl IntoResponse {
    let arguments: Vec<_> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], arguments.join("\0"))
}

fn section(title: &str, links: &[Link]) -> String {
    let row = |(path, what): &Link| {
        let path = escape(path);
        format!("<tr><td><a href=\"{path}\">{path}</a><td>{what}")
    };
    let rows: String = links.iter().map(row).collect();
    format!("<h2>{title}</h2><table>{rows}</table>")
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width'><title>thermograph</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;\
max-width:70rem;padding:0 1rem}pre{overflow-x:auto;padding:1rem;background:#8882;\
border-radius:6px;font-size:13px}td{padding:.15rem 1.5rem .15rem 0;vertical-align:top}\
.warn{border-left:4px solid #d70;padding-left:1rem}</style><h1>thermograph</h1>";
