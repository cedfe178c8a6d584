//! From a click to a flame graph, and to what changed between two.

use std::{fs, path::PathBuf, thread};

use serde_json::{Value, json};

use super::{Browser, has, visit};
use crate::{
    clinic::Clinic,
    support::{get, get_bytes, wait},
};

/// An expression: whether the picture is drawn and has a text.
fn drawn(text: &str) -> String {
    format!(
        "document.getElementById('picture-frame').contentDocument?.documentElement.localName === \
         'svg' && document.getElementById('picture-frame').contentDocument.documentElement\
         .textContent.includes({text:?})"
    )
}

/// Records for a second, to the picture: the newest capture.
fn record(page: &mut Browser, clinic: &Clinic, kind: &str) -> Value {
    page.eval("document.getElementById('record-seconds').value = 1");
    page.click(&format!("#record-{kind}"));
    page.wait("it runs", "!document.getElementById('record-running').hidden");
    page.wait("it is over", "document.getElementById('record-running').hidden");
    page.wait("it is saved", &has("#record-says", "saved as profiles/"));
    let captures = get(&clinic.diagnostics("/debug/captures")).json()["captures"].take();
    captures[0].clone()
}

fn files(clinic: &Clinic, capture: &Value) -> Vec<PathBuf> {
    let files = capture["files"].as_array().expect("a list");
    files.iter().map(|file| clinic.folder.path().join(file.as_str().expect("a name"))).collect()
}

#[test]
fn a_click_records_draws_and_saves_and_two_can_be_compared() {
    let clinic = Clinic::open();
    clinic.under_load(&["/cpu-burn", "/blocking-sleep"], || {
        let mut page = visit(&clinic);
        let first = record(&mut page, &clinic, "cpu");
        assert_eq!(first["kind"], "cpu");
        assert_eq!(files(&clinic, &first).len(), 3, "{first}");
        assert!(files(&clinic, &first).iter().all(|file| file.is_file()), "{first}");
        page.wait("the picture", &drawn("clinic::cpu_burn"));
        for end in [".pb.gz", ".folded"] {
            page.wait("a link to the file", &has("#picture-links a", end));
        }

        // The picture's own script searches and zooms.
        page.eval("document.getElementById('picture-term').value = 'cpu_burn'");
        page.click("#picture-search button");
        page.wait("it is found", &has("#picture-found", "Matched"));
        page.eval("document.getElementById('picture-term').value = 'nobody_is_called_so'");
        page.click("#picture-search button");
        page.wait("it is not found", &has("#picture-found", "nothing matches"));

        // Only one handler's, then both side by side.
        page.wait("handlers", "document.querySelectorAll('#record-route option').length > 2");
        page.eval("document.getElementById('record-route').value = '/cpu-burn'");
        let second = record(&mut page, &clinic, "cpu");
        assert!(second["handler"].as_str().expect("a name").contains("cpu-burn"), "{second}");
        page.wait("both are listed", "document.querySelectorAll('#captures li').length === 2");
        assert_eq!(page.eval("document.getElementById('compare').disabled"), true);
        page.eval("document.querySelectorAll('#captures input').forEach((one) => one.click())");
        page.wait("they can be compared", "!document.getElementById('compare').disabled");
        page.click("#compare");
        page.wait("the title", &has("#picture-title", "before and after"));
        page.wait("what changed", &drawn("cpu_burn"));
        let source = page.eval("document.getElementById('picture-frame').src");
        let source = source.as_str().expect("a path");
        let (before, after) = (first["name"].as_str(), second["name"].as_str());
        let query = format!("diff?before={}&after={}", before.unwrap_or(""), after.unwrap_or(""));
        assert!(source.ends_with(&query), "{source}");
        page.assert_no_problems();
    });
}

#[test]
fn every_kind_is_recorded() {
    let clinic = Clinic::open();
    let profiles = clinic.folder.path().join("profiles");
    fs::create_dir_all(&profiles).expect("made");
    fs::write(profiles.join("20260101T000000Z-trace.json.gz"), "").expect("written");
    clinic.under_load(&["/blocking-sleep", "/hello"], || {
        let mut page = visit(&clinic);
        for (kind, shown) in
            [("wall", "blocking_sleep"), ("spans", "blocking_sleep"), ("stalls", "blocking_sleep")]
        {
            let capture = record(&mut page, &clinic, kind);
            assert_eq!(capture["kind"], kind);
            page.wait(kind, &drawn(shown));
        }
        let heap = record(&mut page, &clinic, "heap");
        assert_eq!(heap["kind"], "heap");
        page.wait("heap", &drawn("emory"));
        // Two of different kinds are not compared, and that is said.
        page.wait("all are listed", "document.querySelectorAll('#captures li').length === 5");
        // A timeline is never compared.
        let disabled =
            "[...document.querySelectorAll('#captures input')].map((one) => one.disabled)";
        assert_eq!(page.eval(disabled), json!([false, false, false, false, true]));
        page.eval(
            "[...document.querySelectorAll('#captures input')].slice(0, 2)
                .forEach((one) => one.click())",
        );
        page.wait("it is told", &has("#compare-note", "cannot be compared"));
        assert_eq!(page.eval("document.getElementById('compare').disabled"), true);
        page.assert_no_problems();
    });
}

#[test]
fn a_capture_is_opened_and_deleted_by_keyboard_in_two_steps() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    let capture = record(&mut page, &clinic, "stalls");
    page.press("Escape");
    page.wait("it is closed", "document.getElementById('picture').hidden");
    page.wait("it is listed", "document.querySelectorAll('#captures li').length === 1");
    page.eval("document.querySelector('#captures [aria-label^=Open]').focus()");
    page.press("Enter");
    page.wait("it is open", &drawn("nothing was captured"));
    page.eval("document.querySelector('#captures [aria-label^=Delete]').focus()");
    page.press("Enter");
    page.wait("it asks", &has("#captures button", "Really delete?"));
    page.press("Escape");
    page.wait("it does not", &has("#captures button[aria-label^=Delete]", "Delete"));
    assert!(files(&clinic, &capture).iter().all(|file| file.is_file()));
    page.press("Enter");
    page.press("Enter");
    page.wait("it is gone", &has("#captures-says", "is deleted"));
    wait("its files are gone", || files(&clinic, &capture).iter().all(|file| !file.exists()));
    page.assert_no_problems();
}

#[test]
fn tab_comes_to_the_button_and_enter_starts_it_and_escape_cancels() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    page.wait("it is live", &has("#state", "live"));
    page.eval("document.getElementById('record-seconds').focus()");
    let focused = "document.activeElement.id";
    for next in ["record-route", "record-cpu"] {
        page.press("Tab");
        assert_eq!(page.eval(focused), next);
    }
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.eval(outline), "solid", "who has the focus must be seen");
    page.press("Enter");
    page.wait("it runs", &has("#record-says", "Recording CPU, 10 s."));
    page.wait("it goes on", "document.getElementById('record-progress').value > 0");
    page.press("Escape");
    page.wait("it is cancelled", &has("#record-says", "nothing was saved"));
    assert_eq!(page.eval(focused), "record-cpu");
    let captures = get(&clinic.diagnostics("/debug/captures")).json();
    assert_eq!(captures["captures"].as_array().map(Vec::len), Some(0));
    page.assert_no_problems();
}

#[test]
fn from_the_top_tab_comes_to_the_record_button() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    page.wait("it is live", &has("#state", "live"));
    let mut pressed = 0;
    while page.eval("document.activeElement.id") != "record-cpu" {
        page.press("Tab");
        pressed += 1;
        assert!(pressed < 100, "Tab does not come to it");
    }
}

#[test]
fn what_is_not_allowed_is_told_in_place() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    page.wait("it is live", &has("#state", "live"));
    page.eval("document.getElementById('record-seconds').value = 301");
    page.click("#record-cpu");
    assert_eq!(page.eval("document.getElementById('record-seconds').validity.valid"), false);
    assert_eq!(page.eval("document.getElementById('record-running').hidden"), true);
    page.eval("document.getElementById('record-seconds').value = 1");
    // A scraper captures: that is no reason to wait.
    thread::scope(|scope| {
        let scraper = clinic.diagnostics("/debug/pprof/profile?seconds=5&format=folded");
        let scraper = scope.spawn(move || get(&scraper).status);
        page.click("#record-cpu");
        page.wait("it is saved", &has("#record-says", "saved as profiles/"));
        assert_eq!(scraper.join().expect("no panic"), 200);
    });
    // Of spans there is one capture at a time: it is said, and the place can be taken.
    thread::scope(|scope| {
        scope.spawn(|| {
            let long = clinic.diagnostics("/debug/spans?seconds=60");
            // The question below may be there first.
            while get(&long).text.contains("already running") {}
        });
        let short = clinic.diagnostics("/debug/spans?seconds=1");
        wait("the other one runs", || get(&short).status == 409);
        page.click("#record-spans");
        page.wait("it is told", &has("#record-says", "already running"));
        page.wait("it is offered", "document.activeElement.id === 'record-force'");
        page.press("Enter");
        page.wait("it is saved", &has("#record-says", "Spans: "));
        page.wait("it is saved", &has("#record-says", "saved as profiles/"));
    });
}

#[test]
fn where_nothing_can_be_written_the_picture_is_shown_and_that_is_said() {
    let clinic = Clinic::open();
    // No rights help where a file stands in the way.
    let profiles = clinic.folder.path().join("profiles");
    fs::write(&profiles, "not a folder").expect("written");
    clinic.under_load(&["/cpu-burn"], || {
        let mut page = visit(&clinic);
        page.eval("document.getElementById('record-seconds').value = 1");
        page.click("#record-cpu");
        page.wait("it is told", &has("#record-says", "not saved: cannot write "));
        page.wait("where", &has("#record-says", &profiles.display().to_string()));
        page.wait("the picture", &drawn("clinic::cpu_burn"));
        page.wait("a link to the profile", &has("#picture-links a", ".pb.gz"));
        page.wait("it is listed", &has("#captures li", "in memory only"));
        page.press("Escape");
        page.click("#captures [aria-label^=Open]");
        page.wait("it can be opened again", &drawn("clinic::cpu_burn"));
        page.assert_no_problems();
    });
    let listing = get(&clinic.diagnostics("/debug/captures")).json();
    assert_eq!(listing["captures"][0]["files"], json!([]));
    let unreadable = listing["unreadable"].as_str().expect("why");
    assert!(unreadable.contains("cannot read"), "{unreadable}");
    for form in ["svg", "pb.gz", "folded"] {
        let name = listing["captures"][0]["name"].as_str().expect("a name");
        let url = clinic.diagnostics(&format!("/debug/captures/{name}.{form}"));
        assert!(!get_bytes(&url).is_empty(), "{form}");
    }
}
