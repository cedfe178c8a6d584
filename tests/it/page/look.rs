//! What is to be seen at a glance, at any width, in light and in dark, and by keyboard.

use serde_json::json;

use super::{Browser, has, visit};
use crate::{clinic::Clinic, support::Server};

/// One that waits, one that computes, and one that does neither.
const LOAD: [&str; 3] = ["/blocking-sleep", "/cpu-burn", "/hello"];

#[test]
fn verdicts_workers_handlers_and_stalls_are_there_at_a_glance() {
    let clinic = Clinic::open();
    clinic.under_load(&LOAD, || {
        let mut page = visit(&clinic);
        page.wait("the verdict", &has("#verdicts .blocking + .name", "GET /blocking-sleep"));
        page.wait("the healthy one", &has("#verdicts .healthy + .name", "GET /hello"));
        page.wait("a stall", &has("#stalls-list .blocked + .name", "GET /blocking-sleep"));
        page.wait("a stall that computes", &has("#stalls-list .cpu + .name", "GET /cpu-burn"));
        page.wait("a row", &has("#handlers-rows tr", "GET /hello"));
        page.wait("a lane that is drawn", "document.querySelector('#lanes canvas')?.width > 100");
        page.wait("the legend", &has("#legend li", "GET /cpu-burn"));
        page.wait("the doctor", &has("#doctor .badge", "good"));
        page.wait("a stall in the header", &has("#state", "stalled now: GET /"));
        page.wait("a line", "document.querySelector('.spark path + path')?.hasAttribute('d')");

        // Verdicts open to their numbers, cause, own frames, place and remedy.
        page.eval("document.querySelectorAll('#verdicts .blocking').forEach((one) => one.click())");
        for cause in ["sleeps on the worker", "tokio::time::sleep", "clinic.rs:", "longest poll"] {
            page.wait(cause, &has("#verdicts details", cause));
        }
        page.wait("its own frame first", &has("#verdicts li.ours", "clinic::blocking_sleep"));
        // So do stalls.
        page.eval(
            "document.querySelectorAll('#stalls-list .blocked').forEach((one) => one.click())",
        );
        page.wait("its stack", &has("#stalls-list li.ours", "clinic::blocking_sleep"));
        page.assert_no_problems();
    });
}

#[test]
fn a_diagnosis_of_ten_seconds_says_where_the_cpu_time_goes() {
    let clinic = Clinic::open();
    clinic.under_load(&["/spawned-blocking"], || {
        let mut page = visit(&clinic);
        page.click("#verdicts-fresh");
        page.wait("it is told", &has("#verdicts-note", "with CPU time"));
        page.wait("what no handler is charged with", &has("#verdicts-list .note", "CPU time"));
        page.assert_no_problems();
    });
}

/// Fails if the page scrolls sideways, or something of it is cut or not there.
fn assert_it_fits(page: &mut Browser, width: u32) {
    page.resize(width, 900);
    page.wait(
        "nothing is wider than the window",
        "document.documentElement.scrollWidth <= innerWidth",
    );
    let cut = page.eval(
        "[...document.querySelectorAll('button, .badge, .name, h2, td, select, input')]
            .filter((one) => one.checkVisibility() && one.closest('svg') === null)
            .filter((one) => {
                const { left, right } = one.getBoundingClientRect();
                return left < 0 || right > innerWidth + 0.5;
            })
            .map((one) => one.outerHTML)",
    );
    assert_eq!(cut, json!([]), "at {width}");
    for id in
        ["state", "verdicts", "workers", "handlers", "stalls", "record-cpu", "doctor", "links"]
    {
        let is_visible = format!(
            "(() => {{ const one = document.getElementById({id:?}); \
             return one.checkVisibility() && one.offsetWidth > 20 && one.offsetHeight > 10; }})()"
        );
        assert_eq!(page.eval(&is_visible), true, "{id} at {width}");
    }
}

/// The page of a clinic under load, with something in every part of it, and all of it open.
fn filled(clinic: &Clinic) -> Browser {
    let mut page = visit(clinic);
    page.wait("verdicts", &has("#verdicts .name", "GET /blocking-sleep"));
    page.wait("rows", &has("#handlers-rows tr", "GET /hello"));
    page.wait("stalls", &has("#stalls-list .name", "GET /cpu-burn"));
    page.eval("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
    page
}

#[test]
fn it_fits_a_telephone_and_a_wall() {
    let clinic = Clinic::open();
    clinic.under_load(&LOAD, || {
        let mut page = filled(&clinic);
        for width in [400, 800, 1280, 2000] {
            assert_it_fits(&mut page, width);
        }
        page.assert_no_problems();
    });
}

#[test]
fn light_and_dark_follow_the_system_until_somebody_chooses() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    let colours = "(() => { const style = getComputedStyle(document.body); \
                   return [style.color, style.backgroundColor]; })()";
    page.prefer("light");
    let light = page.eval(colours);
    page.prefer("dark");
    let dark = page.eval(colours);
    assert!(light[0] != dark[0] && light[1] != dark[1], "{light} {dark}");
    page.click("#theme");
    assert_eq!(page.eval(colours), light);
    // The choice stays.
    page.open(&clinic.diagnostics("/debug/"));
    assert_eq!(page.eval(colours), light);
    page.click("#theme");
    assert_eq!(page.eval(colours), dark);
    page.assert_no_problems();
}

/// The contrast of every text with what is behind it, as WCAG has it.
const CONTRASTS: &str = "(() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => parse(colour).slice(0, 3).map((one) => one / 255)
        .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
        .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if ((parse(colour)[3] ?? 1) > 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll('body *')]
        .filter((one) => hasText(one) && one.checkVisibility() && !one.matches('script, style, :disabled'))
        .map((one) => {
            const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 120)];
        })
        .filter(([contrast]) => contrast < 4.5);
})()";

#[test]
fn every_text_can_be_read_in_both_themes() {
    let clinic = Clinic::open();
    clinic.under_load(&LOAD, || {
        let mut page = filled(&clinic);
        for scheme in ["light", "dark"] {
            page.prefer(scheme);
            assert_eq!(page.eval(CONTRASTS), json!([]), "{scheme}");
        }
    });
}

#[test]
fn the_table_is_sorted_and_walked_by_keyboard() {
    let clinic = Clinic::open();
    for path in ["/hello", "/healthy", "/blocking-sleep"] {
        clinic.visit(path);
    }
    let mut page = visit(&clinic);
    page.wait("rows", "document.querySelectorAll('#handlers-rows tr').length === 3");
    let focused = "document.activeElement.innerText";
    page.eval("document.querySelector('#handlers-head button').focus()");
    page.press("ArrowRight");
    assert_eq!(page.eval(focused), "workers");
    page.press("Enter");
    let sort = "document.activeElement.parentElement.getAttribute('aria-sort')";
    assert_eq!(page.eval(sort), "ascending");
    page.press("Enter");
    assert_eq!(page.eval(sort), "descending");
    page.eval("document.querySelector('#handlers-rows button').focus()");
    assert_eq!(page.eval(focused), "GET /blocking-sleep");
    page.press("ArrowDown");
    assert_ne!(page.eval(focused), "GET /blocking-sleep");
    page.press("ArrowUp");
    // Chosen, it is what a recording is of.
    page.press("Enter");
    assert_eq!(page.eval("document.getElementById('record-route').value"), "/blocking-sleep");
    assert_eq!(page.eval("document.activeElement.id"), "record-cpu");
    page.assert_no_problems();
}

#[test]
fn without_a_script_there_are_the_ledger_and_the_links() {
    let clinic = Clinic::open();
    clinic.visit("/hello");
    let mut page = Browser::start();
    page.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    page.call("Page.navigate", &json!({ "url": clinic.diagnostics("/debug/") }));
    // Scripts of the protocol run all the same.
    page.wait("the ledger", &has("noscript pre, pre", "GET /hello"));
    page.wait("a link", "document.querySelector('#links a[href=\"/metrics\"]')?.checkVisibility()");
    assert_eq!(page.eval("document.getElementById('verdicts').checkVisibility()"), false);
}

#[test]
fn with_a_token_the_browser_carries_it_everywhere() {
    let token = "a-secret-of-some-length";
    let server = Server::with(&[("THERMOGRAPH_DIAGNOSTICS_TOKEN", token)]);
    let mut page = Browser::start();
    let url = server.diagnostics("/debug/").replace("http://", &format!("http://anybody:{token}@"));
    page.open(&url);
    page.wait("events come", &has("#state", "live"));
    page.wait("verdicts come", &has("#verdicts", "No handler was called yet."));
    page.assert_no_problems();
}

#[test]
fn when_the_server_goes_the_page_says_so() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    page.wait("it is live", &has("#state", "live"));
    drop(clinic);
    page.wait("it is lost", &has("#state", "connection lost"));
}
