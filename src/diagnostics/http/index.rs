//! The pages that link everything.

use axum::{
    extract::State,
    response::{Html, IntoResponse, Redirect},
};
use http::header;

use crate::diagnostics::{BuildInfo, Thermograph};

/// A line of the index: where it leads, and what is there.
type Link = (&'static str, &'static str);

const HANDLERS: [Link; 4] = [
    ("/debug/handlers?format=text", "what each handler has cost since the start"),
    ("/debug/handlers?format=text&seconds=10", "the same over the next 10 seconds"),
    ("/debug/handlers", "the same as JSON"),
    ("/debug/stalls?format=text", "the newest polls over the threshold, with their stacks"),
];
const PICTURES: [Link; 4] = [
    ("/debug/pprof/block?format=svg", "stalls since the start, by where they stood"),
    ("/debug/pprof/profile?seconds=10&format=svg", "CPU time by stack, 10 seconds"),
    (
        "/debug/fgprof?seconds=10&format=svg",
        "wall-clock time in polls, on a processor and off, 10 seconds",
    ),
    ("/debug/spans?seconds=10&format=svg", "time in spans, 10 seconds"),
];
const TOOLS: [Link; 5] = [
    ("/debug/pprof/", "profiles for go tool pprof and Pyroscope"),
    ("/debug/pprof/profile?seconds=10&format=folded", "CPU time as folded stacks, 10 seconds"),
    (
        "/debug/stalls",
        "the newest stalls as JSON, or with `accept: text/event-stream` those to come",
    ),
    ("/debug/spans?seconds=10", "spans as folded stacks, 10 seconds"),
    ("/metrics", "Prometheus"),
];

pub(crate) async fn to_debug() -> Redirect {
    Redirect::permanent("/debug/")
}

pub(crate) async fn debug(State(thermograph): State<Thermograph>) -> Html<String> {
    let sections = [("Handlers", &HANDLERS[..]), ("Flame graphs", &PICTURES), ("Tools", &TOOLS)];
    let sections: String = sections.iter().map(|(title, links)| section(title, links)).collect();
    let missing = BuildInfo::CURRENT.missing();
    let missing: Vec<_> = missing.iter().map(|what| format!("<p class=warn>{what}</p>")).collect();
    let missing = missing.concat();
    let table = escape(&thermograph.ledger().report().to_string());
    Html(format!("{HEAD}{missing}<pre>{table}</pre>{sections}"))
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

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width'><title>thermograph</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;\
max-width:70rem;padding:0 1rem}pre{overflow-x:auto;padding:1rem;background:#8882;\
border-radius:6px;font-size:13px}td{padding:.15rem 1.5rem .15rem 0;vertical-align:top}\
.warn{border-left:4px solid #d70;padding-left:1rem}</style><h1>thermograph</h1>";
