//! What is told live: to one viewer, to many, and to none too many.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use super::{has, visit};
use crate::{
    clinic::Clinic,
    support::{agent, get, wait},
};

/// Events of a door, as names and data.
fn events(clinic: &Clinic) -> impl Iterator<Item = (String, Value)> + use<> {
    let answer = agent().get(clinic.diagnostics("/debug/live")).call().expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut name = String::new();
    BufReader::new(answer.into_body().into_reader()).lines().filter_map(move |line| {
        let line = line.expect("a line");
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        }
        let data = line.strip_prefix("data: ")?;
        Some((name.clone(), serde_json::from_str(data).expect("JSON")))
    })
}

#[test]
fn lanes_and_figures_come_by_themselves_and_stalls_as_they_happen() {
    let clinic = Clinic::open();
    clinic.visit("/hello");
    let mut events = events(&clinic);
    let (first, lanes) = events.next().expect("an event");
    assert_eq!(first, "lanes");
    assert!(lanes["at"].as_f64() > Some(0.0), "{lanes}");
    let (second, figures) = events.next().expect("an event");
    assert_eq!((&*second, figures["threshold_ms"].as_f64()), ("ledger", Some(10.0)));
    assert_eq!(figures["handlers"][0]["route"], "/hello");
    // On a busy machine a stall may be over before the watchdog comes: it has no stack then.
    let mut stalls = (0..20).map(|_| {
        clinic.visit("/blocking-sleep");
        let (_, stall) = events.find(|(name, _)| name == "stall").expect("an event");
        assert_eq!(stall["route"], "/blocking-sleep");
        stall["stack"].as_array().expect("a list").clone()
    });
    let stack = stalls.find(|stack| !stack.is_empty()).expect("a stack");
    let frame = stack.iter().find(|frame| frame["own"] == true).expect("of its own");
    assert!(frame["function"].as_str().expect("a name").contains("clinic::"), "{frame}");
    let row = |figures: &Value| {
        let rows = figures["handlers"].as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["route"] == "/blocking-sleep")
    };
    // One more, in a second of its own.
    let is_quiet = |(name, figures): &(String, Value)| {
        name == "ledger" && row(figures).is_some_and(|row| row["now"].is_null())
    };
    events.find(is_quiet).expect("an event");
    clinic.visit("/blocking-sleep");
    let came = |(name, figures): &(String, Value)| {
        name == "ledger" && row(figures).is_some_and(|row| row["now"].is_object())
    };
    let (_, figures) = events.find(came).expect("an event");
    let row = row(&figures).expect("a row");
    assert!(row["now"]["longest_ms"].as_f64() > Some(25.0), "{row}");
    assert_eq!((&row["now"]["stalls"], &row["in_flight"]), (&1.into(), &0.into()), "{row}");
    // A worker of whom all is told.
    let busy = |(name, lanes): &(String, Value)| {
        name == "lanes" && lanes["lanes"].as_array().is_some_and(|lanes| !lanes.is_empty())
    };
    let (_, lanes) = events.find(busy).expect("an event");
    let lane = &lanes["lanes"][0];
    assert!(lane["thread"].as_str().expect("a name").contains("tokio"), "{lane}");
    assert!(lane["thread_id"].as_i64() > Some(0) && lane["stalled"].is_boolean(), "{lane}");
}

#[test]
fn past_the_last_place_a_viewer_is_told_and_let_in_once_one_has_left() {
    let clinic = Clinic::open();
    let viewer = || {
        let answer = agent().get(clinic.diagnostics("/debug/live")).call().expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().into_reader()
    };
    let mut viewers: Vec<_> = (0..16).map(|_| viewer()).collect();
    let refused = get(&clinic.diagnostics("/debug/live"));
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("16 viewers"), "{}", refused.text);
    // The page says it too, in place.
    let mut page = visit(&clinic);
    page.wait("it is told", &has("#state", "16 viewers look already"));
    viewers.clear();
    page.wait("it is let in by itself", &has("#state", "live"));
}

#[test]
fn parameters_are_refused() {
    let clinic = Clinic::open();
    let refused = get(&clinic.diagnostics("/debug/live?seconds=1"));
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("unknown parameter `seconds`: none is allowed"), "{refused:?}");
}

#[test]
fn a_stall_appears_while_the_page_is_open() {
    let clinic = Clinic::open();
    let mut page = visit(&clinic);
    page.wait("it is live", &has("#state", "live"));
    page.wait("there was none", &has("#stalls-list", "No stall was seen."));
    clinic.under_load(&["/blocking-sleep"], || {
        page.wait("it is listed", &has("#stalls-list .name", "GET /blocking-sleep"));
        page.wait("where", &has("#stalls-list .why", "at clinic::blocking_sleep"));
    });
    page.assert_no_problems();
}

#[test]
fn who_looks_elsewhere_costs_nothing() {
    let clinic = Clinic::open();
    drop(events(&clinic));
    // The place that was taken is free again, and so are all the others.
    let all = || (0..16).map(|_| agent().get(clinic.diagnostics("/debug/live")).call());
    wait("all places are free", || {
        let answers: Vec<_> = all().collect();
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200))
    });
}
