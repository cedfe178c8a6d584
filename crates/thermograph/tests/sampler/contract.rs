//! What Go's `net/http/pprof` takes is taken: <https://pkg.go.dev/net/http/pprof#hdr-Parameters>.

use std::time::Duration;

use axum::Router;

use crate::{
    app::{App, agent, alone, get_bytes, get_text},
    captures::Wire,
    go::pprof,
    specimens,
};

/// Profiles that are there at once.
const AT_ONCE: [&str; 4] = ["block", "mutex", "goroutine", "threadcreate"];

/// Status, `x-thermograph-clipped` and text of an answer.
fn ask(app: &App, path: &str) -> (u16, Option<String>, String) {
    let mut answer = agent().get(app.diagnostics(path)).call().expect("an answer");
    let clipped = answer.headers().get("x-thermograph-clipped");
    let clipped = clipped.map(|note| note.to_str().expect("ASCII").to_owned());
    let text = answer.body_mut().read_to_vec().expect("a body");
    (answer.status().as_u16(), clipped, String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn every_profile_takes_the_parameters_of_go() {
    let _alone = alone();
    let app = App::hooked(specimens::router());
    agent().get(app.url("/ill/sleep")).call().expect("an answer");
    for name in AT_ONCE {
        for query in ["debug=0", "gc=1", "debug=0&gc=0", "seconds=1", "seconds=1&gc=1&debug=0"] {
            let path = format!("/debug/pprof/{name}?{query}");
            Wire::decode(&get_bytes(&app.diagnostics(&path)));
        }
        for query in ["debug=1", "debug=2", "debug=3", "debug=-1", "debug=1&gc=1"] {
            let path = format!("/debug/pprof/{name}?{query}");
            assert_eq!(ask(&app, &path).0, 200, "{path}");
        }
        // As in Go.
        assert_eq!(ask(&app, &format!("/debug/pprof/{name}?debug=1&seconds=1")).0, 400, "{name}");
    }
    // The links of Go's index have `debug=1` everywhere, which means nothing to these.
    for path in ["profile?seconds=1&debug=1&gc=1", "profile?seconds=1&debug=2"] {
        Wire::decode(&get_bytes(&app.diagnostics(&format!("/debug/pprof/{path}"))));
    }
    for path in ["trace?seconds=0.2&debug=1", "cmdline?debug=1", "symbol", "trace?seconds=1&gc=1"] {
        assert_eq!(ask(&app, &format!("/debug/pprof/{path}")).0, 200, "{path}");
    }
    assert!(get_text(&app.diagnostics("/debug/pprof")).contains("threadcreate"), "it leads there");
}

#[test]
fn seconds_past_the_limit_are_clipped_and_that_is_told() {
    let _alone = alone();
    let app = App::hooked(Router::new());
    let path = "/debug/pprof/goroutine?full=true&seconds=600";
    let (status, clipped, _) = ask(&app, path);
    let note = "seconds: 600 asked for, clipped to 10";
    assert_eq!((status, clipped.as_deref()), (200, Some(note)));
    let profile = Wire::decode(&get_bytes(&app.diagnostics(path)));
    let comments: Vec<_> =
        profile.0.comment.iter().map(|index| &*profile.0.string_table[*index as usize]).collect();
    assert_eq!(comments, [note]);
    assert_eq!(ask(&app, "/debug/pprof/goroutine?full=true&seconds=10").1, None);
    // They begin, as long as they last.
    for name in ["profile", "trace", "block", "mutex", "goroutine", "threadcreate"] {
        let impatient: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(2)))
            .build()
            .into();
        let url = app.diagnostics(&format!("/debug/pprof/{name}?seconds=600"));
        let refused = impatient.get(&url).call().map(|answer| answer.status());
        assert!(matches!(refused, Err(ureq::Error::Timeout(_))), "{name}: {refused:?}");
    }
}

#[test]
fn threads_are_counted_by_name() {
    let _alone = alone();
    let app = App::start(Router::new());
    let text = get_text(&app.diagnostics("/debug/pprof/threadcreate?debug=1"));
    assert!(text.starts_with("--- threadcreate:"), "{text}");
    assert!(text.contains("2 @ thread=tokio-rt-worker"), "both workers: {text}");
}

#[test]
fn go_tool_pprof_takes_every_profile_over_a_window() {
    let _alone = alone();
    let app = App::hooked(specimens::router());
    for name in AT_ONCE.map(|name| format!("pprof/{name}")).iter().chain([
        &"pprof/profile".to_owned(),
        &"fgprof".to_owned(),
        &"pprof/goroutine?full=true".to_owned(),
    ]) {
        let url = app.diagnostics(&format!("/debug/{name}"));
        let top = pprof(&["-top", "-seconds=1"], url.as_ref());
        assert!(top.contains("Type: "), "{name}: {top}");
    }
    let url = app.diagnostics("/debug/pprof/goroutine?full=true");
    let comments = pprof(&["-comments", "-seconds=600"], url.as_ref());
    assert!(comments.contains("600 asked for, clipped to 10"), "{comments}");
}
