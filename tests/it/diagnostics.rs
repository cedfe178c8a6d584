//! The diagnostics door.

use serde_json::{Value, json};

use crate::support::{Answer, MODEL, Server, agent, answer, get, under_load, wait};

#[test]
fn the_index_links_what_is_there() {
    let server = Server::start();
    let page = get(&server.diagnostics("/debug/"));
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let links = page.text.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut seen = 0;
    for link in links {
        let link = link.replace("&amp;", "&");
        let path = if link.starts_with('/') { link } else { format!("/debug/{link}") };
        // Captures take their time: a second will do.
        let path = path.replace("seconds=10", "seconds=1").replace("seconds=30", "seconds=1");
        assert_eq!(
            agent().get(server.diagnostics(&path)).call().expect("an answer").status(),
            200,
            "{path}"
        );
        seen += 1;
    }
    assert!(seen >= 5, "{}", page.text);
}

#[test]
fn the_ledger_counts_every_request() {
    let server = Server::start();
    for _ in 0..3 {
        server.embed(&json!({ "model": MODEL, "input": "a" }));
    }
    server.embed(&json!({ "model": MODEL, "input": "" }));
    get(&server.api("/nowhere"));
    get(&server.api("/elsewhere"));
    let rows = get(&server.diagnostics("/debug/handlers")).json()["handlers"].take();
    let row = |route: &str| -> Value {
        let rows = rows.as_array().expect("a list");
        rows.iter().find(|row| row["route"] == route).unwrap_or_else(|| panic!("{rows:?}")).clone()
    };
    let embeddings = row("/v1/embeddings");
    assert_eq!(embeddings["method"], "POST");
    assert_eq!(embeddings["by_class"], json!([0, 3, 0, 1, 0]));
    assert!(embeddings["busy_ms"].as_f64() > Some(0.0), "{embeddings}");
    // Scanners share a row: their paths would fill the table.
    assert_eq!(row("(unmatched)")["requests"], 2);
    let text = get(&server.diagnostics("/debug/handlers?format=text")).text;
    assert!(text.contains("POST /v1/embeddings"), "{text}");
    assert_eq!(server.metric("thermograph_handler_requests_total"), 6);
}

#[test]
fn flame_graphs_name_the_handler_and_the_engine_s_steps() {
    let server = Server::start();
    let names = ["routes::embeddings::embeddings", "Encoder::infer", "Tokenizer::tokenize"];
    let (mut cpu, mut spans) = (String::new(), String::new());
    under_load(&server, || {
        // The handler itself takes a few thousandths of the CPU time: on a busy machine one window
        // may have no sample of it.
        wait("the stacks name the handler and the engine's steps", || {
            let capture = |path| get(&server.diagnostics(path)).text;
            std::thread::scope(|scope| {
                let path = "/debug/pprof/profile?seconds=3&frequency=250&format=folded";
                let taken = scope.spawn(move || capture(path));
                spans = capture("/debug/spans?seconds=3");
                cpu += &taken.join().expect("no panic");
            });
            names.iter().all(|name| cpu.contains(name))
        });
    });
    assert!(!cpu.contains("{async_block"), "an async handler without a name");
    // The handler is the root, and behind it the pool whose threads worked for it.
    for stack in cpu.lines().filter(|stack| names.iter().any(|name| stack.contains(name))) {
        let rest = stack.strip_prefix("POST /v1/embeddings;").unwrap_or_else(|| panic!("{stack}"));
        let (pool, _) = rest.split_once(';').expect("frames");
        assert!(["worker", "cpu", "infer", "rten"].contains(&pool), "{stack}");
    }
    for name in ["tokenize", "queue", "infer", "pool"] {
        let stack = format!("POST /v1/embeddings;{name} ");
        assert!(spans.contains(&stack), "no `{stack}` in\n{spans}");
    }
    assert!(spans.contains(";encode "), "{spans}");
}

#[test]
fn a_picture_is_an_svg_with_the_names_in_it() {
    let server = Server::start();
    under_load(&server, || {
        // On a busy machine a batch may last longer than the window.
        wait("the picture names what the engine does", || {
            let svg = get(&server.diagnostics("/debug/spans?seconds=1&format=svg"));
            assert_eq!(svg.header("content-type"), "image/svg+xml");
            assert!(svg.text.contains("<svg"), "{}", svg.text);
            svg.text.contains("infer")
        });
    });
}

#[test]
fn one_capture_of_a_kind_at_a_time() {
    let server = Server::start();
    std::thread::scope(|scope| {
        // The probes below may be there before the first: then it is refused, and comes again.
        let first = scope.spawn(|| {
            loop {
                let answer = get(&server.diagnostics("/debug/spans?seconds=60"));
                if !answer.text.contains("already running") {
                    break answer;
                }
            }
        });
        let mut refused = None;
        wait("a capture runs", || {
            let answer = get(&server.diagnostics("/debug/spans?seconds=1"));
            let is_refused = answer.status == 409;
            refused = Some(answer);
            is_refused
        });
        let refused = refused.expect("just seen");
        assert_go_error(&refused, 409);
        assert!(
            refused.text.contains("already running") && refused.text.contains("force=true"),
            "{}",
            refused.text
        );
        // The CPU is another kind.
        assert_eq!(
            get(&server.diagnostics("/debug/pprof/profile?seconds=1&format=folded")).status,
            200
        );
        assert_eq!(get(&server.diagnostics("/debug/spans?seconds=1&force=true")).status, 200);
        let first = first.join().expect("no panic");
        assert_eq!(first.status, 409, "{}", first.text);
        assert!(first.text.contains("ended by another capture"), "{}", first.text);
    });
}

#[test]
fn a_capture_ends_when_its_client_leaves() {
    let server = Server::start();
    let url = server.diagnostics("/debug/spans?seconds=300");
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(std::time::Duration::from_secs(1)))
        .build()
        .new_agent();
    assert!(agent.get(url).call().is_err());
    wait("the turn is free", || get(&server.diagnostics("/debug/spans?seconds=1")).status == 200);
}

#[test]
fn bad_parameters_are_refused_in_go_s_shape() {
    let server = Server::start();
    for (path, said) in [
        (
            "/debug/pprof/profile?seconds=0",
            "seconds: `0` is not allowed: a whole number from 1 to 300",
        ),
        ("/debug/pprof/profile?frequency=5000", "frequency: `5000`"),
        ("/debug/pprof/profile?format=png", "pprof, svg, folded"),
        ("/debug/spans?second=1", "unknown parameter `second`"),
        ("/debug/handlers?format=xml", "json, text"),
    ] {
        let refused = get(&server.diagnostics(path));
        assert_go_error(&refused, 400);
        assert!(refused.text.contains(said), "{path}: {}", refused.text);
    }
    assert_go_error(&get(&server.diagnostics("/debug/pprof/nothing")), 404);
}

#[test]
fn with_a_token_nobody_enters_without_it() {
    let token = "a-secret-of-some-length";
    let variables =
        [("THERMOGRAPH_DIAGNOSTICS_TOKEN", token), ("RUST_LOG", "trace,hyper=off,h2=off")];
    let server = Server::with(&variables);
    for path in
        ["/debug/", "/debug/handlers", "/debug/pprof/profile?seconds=1", "/metrics", "/nowhere"]
    {
        let url = server.diagnostics(path);
        assert_eq!(get(&url).status, 401, "{path}");
        let wrong = agent().get(&url).header("authorization", "Bearer wrong").call();
        assert_eq!(wrong.expect("an answer").status(), 401, "{path}");
    }
    let right = agent()
        .get(server.diagnostics("/debug/handlers"))
        .header("authorization", format!("Bearer {token}"))
        .call();
    assert_eq!(answer(right.expect("an answer")).status, 200);
    assert!(!server.log().contains(token), "the token is in the log");
}

fn assert_go_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-go-pprof"), "1");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}
