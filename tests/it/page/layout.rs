//! The page's layout, measured in the browser: at any width, with little on it and with much.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, routing::get};
use serde_json::json;
use tempfile::TempDir;
use thermograph::{Class, ConsoleMode, Door, Stall, Thermograph};
use tokio::runtime::{self, Runtime};
use tower::ServiceExt as _;

use super::{Browser, has};
use crate::support::wait;

const WIDTHS: [u32; 3] = [400, 1280, 1440];
/// The longest names that captures have.
const HANDLERS: [&str; 3] = [
    "POST-v1-organizations-projects-environments-deployments-logs-tai",
    "GET-one_word_that_is_as_long_as_the_name_of_a_handler_may_become",
    "GETonewordwithoutanythingwhereitcouldbreakthatisaslongasitmaybeX",
];
const LONG_ROUTES: [&str; 2] = [
    "/v1/organizations/{organization}/projects/{project}/environments/{environment}/deployments/{d}",
    "/onewordwithoutanythingwhereitcouldbreak/onewordwithoutanythingwhereitcouldbreakoverandover",
];

/// An app with handlers that stall, and captures.
struct Crowded {
    door: Door,
    _folder: TempDir,
    _runtime: Runtime,
}

impl Crowded {
    fn with(captures: usize, handlers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        (0..captures).for_each(|number| keep(folder.path(), number));
        let builder = Thermograph::builder()
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .folder(folder.path())
            .console(ConsoleMode::Off);
        let thermograph = builder.build().expect("valid");
        let door = thermograph.serve().expect("opened");
        let mut app = Router::new();
        let long = LONG_ROUTES.map(str::to_owned).into_iter();
        let routes: Vec<_> =
            long.chain((0..).map(|n| format!("/some/handler/{n}"))).take(handlers).collect();
        for route in &routes {
            app = app.route(route, get(async || deep::<30>()));
        }
        let app = app.layer(thermograph.layer());
        let runtime = runtime::Runtime::new().expect("a runtime");
        for route in &routes {
            // On a busy machine the watchdog may come too late for the first stall's stack.
            wait("the handler has a stall with a stack", || {
                let uri = route.replace(['{', '}'], "x");
                let request = Request::get(uri).body(Body::empty()).expect("a request");
                let answer = runtime.block_on(runtime.spawn(app.clone().oneshot(request)));
                assert_eq!(answer.expect("no panic").expect("infallible").status(), 200);
                let is_told = |stall: &Stall| {
                    stall.route == *route
                        && stall.class == Class::Blocked
                        && !stall.stack.is_empty()
                };
                thermograph.stalls().iter().any(is_told)
            });
        }
        Self { door, _folder: folder, _runtime: runtime }
    }
}

/// A stack of so many functions of the app's own, which blocks.
fn deep<const DEPTH: usize>() {
    fn call(depth: usize) {
        if depth == 0 {
            thread::sleep(Duration::from_millis(30));
        } else {
            call(std::hint::black_box(depth - 1));
            std::hint::black_box(depth);
        }
    }
    call(DEPTH);
}

/// The handler in the name of a capture.
fn handler_of(number: usize) -> &'static str {
    HANDLERS[number % HANDLERS.len()]
}

fn keep(folder: &Path, number: usize) {
    let kind = ["cpu", "wall", "spans", "stalls"][number % 4];
    let (minute, handler) = (number % 60, handler_of(number));
    let name = format!("20261125T{:02}{minute:02}00Z-{kind}-{handler}", 10 + number / 60);
    for (form, end) in [("profiles", "pb.gz"), ("profiles", "folded"), ("flamegraphs", "svg")] {
        fs::create_dir_all(folder.join(form)).expect("made");
        fs::write(folder.join(form).join(format!("{name}.{end}")), [0; 5000]).expect("written");
    }
}

/// Faults of the layout: the page is wider than the window, something reaches out of its section, a
/// name is narrower than a dozen of its characters, or two parts of a line overlap. With them come
/// the names of captures that were measured.
const LOOK: &str = r#"(() => {
    const wrong = [];
    const captures = [];
    const told = (what, one) => wrong.push(`${what}: ${one.outerHTML.slice(0, 150)}`);
    const root = document.documentElement;
    if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} px wide`);
    const boxOf = (one) => one.getBoundingClientRect();
    const seen = (one) => one.checkVisibility() && !one.closest(".unseen, .skip");
    for (const section of document.querySelectorAll("section")) {
        const { left, right } = boxOf(section);
        for (const one of section.querySelectorAll("*")) {
            const box = boxOf(one);
            const isOut = box.width > 0 && (box.right > right + 1 || box.left < left - 1);
            if (isOut && seen(one) && !one.closest("pre, option, svg")) told("out of its section", one);
        }
    }
    const canvas = document.createElement("canvas").getContext("2d");
    for (const one of document.querySelectorAll(".captures .name, .item .name, td .name")) {
        if (!seen(one)) continue;
        canvas.font = getComputedStyle(one).font;
        const text = one.textContent;
        const wanted = Math.min(canvas.measureText(text).width, canvas.measureText(text.slice(0, 12)).width);
        if (boxOf(one).width < wanted - 1) told("narrower than a dozen characters", one);
        if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0) told("cut", one);
        if (one.closest(".captures")) captures.push(text);
    }
    for (const line of document.querySelectorAll(".captures li, .item > summary, .lane, .title, .buttons, #record-form")) {
        const parts = [...line.children].filter((one) => seen(one) && boxOf(one).width > 0);
        parts.forEach((a, index) => parts.slice(index + 1).forEach((b) => {
            const [x, y] = [boxOf(a), boxOf(b)];
            const across = Math.min(x.right, y.right) - Math.max(x.left, y.left);
            const down = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
            if (across > 1 && down > 1) told("it overlaps with the next", a);
        }));
    }
    return { wrong, captures: captures.sort() };
})()"#;

#[test]
fn nothing_overlaps_or_reaches_out_and_names_can_be_read_at_every_width() {
    for (captures, handlers) in [(0, 0), (4, 2), (100, 40)] {
        let crowded = Crowded::with(captures, handlers);
        let mut page = Browser::start();
        page.open(&format!("http://{}/debug/", crowded.door.address()));
        let mut names: Vec<_> = (0..captures).map(handler_of).collect();
        names.sort_unstable();
        let listed = format!("document.querySelectorAll('#captures li').length === {captures}");
        page.wait("captures are listed", &listed);
        page.wait("it is live", &has("#state", "live"));
        if handlers > 0 {
            let rows =
                format!("document.querySelectorAll('#handlers-rows tr').length === {handlers}");
            page.wait("handlers are listed", &rows);
            page.wait("verdicts", &has("#verdicts .name", LONG_ROUTES[0]));
            page.wait("stalls", &has("#stalls .name", "GET /"));
            page.eval(
                "document.querySelectorAll('details').forEach((one) => { one.open = true; })",
            );
            page.wait("stacks", "document.querySelector('#verdicts ol.stack') !== null");
        }
        for width in WIDTHS {
            page.resize(width, 1000);
            let looked = page.eval(LOOK);
            let context = format!("{captures} captures, {handlers} handlers, {width} px");
            assert_eq!(looked["wrong"], json!([]), "{context}");
            assert_eq!(looked["captures"], json!(names), "{context}");
        }
        page.assert_no_problems();
    }
}
