//! Several readers of one sampling session: a scraper, the page, a diagnosis.

use std::{net::TcpStream, thread, time::Duration};

use axum::Router;
use thermograph::Diagnosis;

use crate::{
    app::{self, App, agent, alone, get_bytes, get_text, wait},
    captures::Wire,
    specimens,
    totals::Burner,
};

/// Seconds of a capture in which burners end, on a machine that does other things too.
const WINDOW: i64 = 14;

const KINDS: [(&str, &str); 2] =
    [("/debug/pprof/profile", "thermo-cpu"), ("/debug/fgprof", "thermo-wall")];

/// Whether a thread of this process has a name.
fn is_there(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable");
    tasks.filter_map(Result::ok).any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

fn reader(app: &App, path: &str) -> TcpStream {
    app::reader(&door(app), path)
}

fn door(app: &App) -> String {
    app.diagnostics("").trim_start_matches("http://").to_owned()
}

/// Status and text of an answer.
fn ask(url: &str) -> (u16, String) {
    let mut answer = agent().get(url).call().expect("an answer");
    let text = answer.body_mut().read_to_vec().expect("a body");
    (answer.status().as_u16(), String::from_utf8_lossy(&text).into_owned())
}

/// Nanoseconds in the samples of threads with such a name.
fn time(profile: &Wire, thread: &str) -> i64 {
    let samples = profile.samples();
    let of_thread = samples.iter().filter(|sample| sample.label("thread").starts_with(thread));
    of_thread.map(|sample| sample.value).sum()
}

#[test]
fn readers_of_different_frequencies_have_the_same_time_in_their_own_periods() {
    let _alone = alone();
    let app = App::start(Router::new());
    let burners: Vec<_> = (0..2).map(Burner::start).collect();
    let mut used = Duration::ZERO;
    let profiles = thread::scope(|scope| {
        let capture = |hertz: i64| {
            let path = format!("/debug/pprof/profile?seconds={WINDOW}&frequency={hertz}");
            let url = app.diagnostics(&path);
            scope.spawn(move || Wire::decode(&get_bytes(&url)))
        };
        let captures = [19, 99, 250, 1000].map(|hertz| (hertz, capture(hertz)));
        wait("they sample", || is_there("thermo-cpu"));
        // Until all of them have come.
        thread::sleep(Duration::from_secs(1));
        burners.iter().for_each(Burner::go);
        let ends: Vec<_> = burners.into_iter().map(Burner::join).collect();
        let is_over = captures.iter().any(|(_, capture)| capture.is_finished());
        assert!(!is_over, "the machine is too busy: the threads did not end in time");
        used = ends.iter().map(|(used, _)| *used).sum();
        captures.map(|(hertz, capture)| (hertz, capture.join().expect("no panic")))
    });
    let used = i64::try_from(used.as_nanos()).expect("short");
    for (hertz, profile) in profiles {
        let period = 1_000_000_000 / hertz;
        assert_eq!(profile.0.period, period, "{hertz} Hz");
        let samples = profile.samples();
        assert!(samples.iter().all(|sample| sample.value == sample.count * period), "{hertz} Hz");
        let time = time(&profile, "burner-");
        // A period of each thread is before or behind; and what was lost is said.
        let lost = dropped(&profile) * period;
        let wrong = (time + lost - used).abs();
        assert!(wrong <= used / 10 + 2 * period, "{hertz} Hz: {time} ns of {used}, {lost} lost");
    }
}

fn dropped(profile: &Wire) -> i64 {
    let comments = profile.0.comment.iter();
    let texts = comments.map(|index| &profile.0.string_table[usize::try_from(*index).expect("+")]);
    texts.filter_map(|text| text.strip_prefix("dropped samples: ")?.parse::<i64>().ok()).sum()
}

#[test]
fn a_reader_that_comes_later_has_a_window_of_its_own() {
    let _alone = alone();
    let app = App::start(Router::new());
    let scraper = thread::scope(|scope| {
        let url = app.diagnostics(&format!("/debug/pprof/profile?seconds={WINDOW}"));
        let scraper = scope.spawn(move || Wire::decode(&get_bytes(&url)));
        wait("it samples", || is_there("thermo-cpu"));
        thread::sleep(Duration::from_secs(1));
        let burner = Burner::start(0);
        burner.go();
        let (used, _) = burner.join();
        assert!(!scraper.is_finished(), "the window was too short for this machine");
        // What was before its window is not in it, at any frequency.
        let capture = |hertz| {
            let path = format!("/debug/pprof/profile?seconds=1&frequency={hertz}");
            let url = app.diagnostics(&path);
            scope.spawn(move || Wire::decode(&get_bytes(&url)))
        };
        for second in [99, 997].map(capture) {
            let second = second.join().expect("no panic");
            assert_eq!(second.0.duration_nanos, 1_000_000_000);
            assert_eq!(time(&second, "burner-"), 0);
        }
        (scraper.join().expect("no panic"), used)
    });
    let (scraper, used) = scraper;
    let used = i64::try_from(used.as_nanos()).expect("short");
    let time = time(&scraper, "burner-") + dropped(&scraper) * scraper.0.period;
    assert!((time - used).abs() < used / 5, "{time} ns of {used}");
    assert_eq!(
        (scraper.0.duration_nanos, scraper.0.period),
        (WINDOW * 1_000_000_000, 1_000_000_000 / 99)
    );
}

#[test]
fn a_client_that_leaves_ends_its_own_reading_only() {
    let _alone = alone();
    let app = App::start(specimens::router());
    for (path, thread) in KINDS {
        let first = reader(&app, path);
        wait("it samples", || is_there(thread));
        let second = thread::scope(|scope| {
            let url = app.diagnostics(&format!("{path}?seconds=3"));
            let second = scope.spawn(move || Wire::decode(&get_bytes(&url)));
            thread::sleep(Duration::from_millis(500));
            drop(first);
            while !second.is_finished() {
                agent().get(app.url("/ill/burn")).call().expect("an answer");
            }
            second.join().expect("no panic")
        });
        assert!(second.samples().iter().any(|sample| sample.has("specimens::burn")), "{path}");
        wait("sampling has ended", || !is_there(thread));
        // `force` ends nobody else's.
        let first = reader(&app, path);
        wait("it samples", || is_there(thread));
        assert_eq!(ask(&app.diagnostics(&format!("{path}?seconds=1&force=true"))).0, 200);
        assert!(is_there(thread), "{path}: the first was ended");
        drop(first);
        wait("sampling has ended", || !is_there(thread));
    }
}

#[test]
fn past_the_most_readers_one_more_is_told_and_let_in_when_one_has_left() {
    let _alone = alone();
    let app = App::start(Router::new());
    for (path, thread) in KINDS {
        let (mut readers, answer) = app::fill_captures(&door(&app), path);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("16 captures of this kind are running"), "{answer}");
        assert!(answer.contains("try again in "), "{answer}");
        let one_more = app.diagnostics(&format!("{path}?seconds=1"));
        assert_eq!(ask(&one_more).0, 503);
        readers.pop();
        wait("a place is free", || ask(&one_more).0 == 200);
        drop(readers);
        wait("sampling has ended", || !is_there(thread));
    }
}

#[test]
fn two_apps_of_one_process_share_the_samples_too() {
    let _alone = alone();
    let (app, other) = (App::start(Router::new()), App::start(Router::new()));
    for (path, thread) in KINDS {
        let first = reader(&app, path);
        wait("it samples", || is_there(thread));
        assert_eq!(ask(&other.diagnostics(&format!("{path}?seconds=1"))).0, 200, "{path}");
        drop(first);
    }
}

#[test]
fn a_diagnosis_has_cpu_time_while_a_scraper_reads() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let scraper = reader(&app, "/debug/pprof/profile");
    wait("it samples", || is_there("thermo-cpu"));
    let diagnosis = thread::scope(|scope| {
        let url = app.diagnostics("/debug/diagnosis?seconds=2");
        let diagnosis = scope.spawn(move || get_text(&url));
        while !diagnosis.is_finished() {
            agent().get(app.url("/ill/burn")).call().expect("an answer");
        }
        diagnosis.join().expect("no panic")
    });
    let diagnosis: Diagnosis = serde_json::from_str(&diagnosis).expect("a diagnosis");
    assert!(diagnosis.fresh, "{diagnosis:#?}");
    let burn = diagnosis.verdicts.iter().find(|verdict| verdict.route == "/ill/burn");
    assert!(burn.expect("a verdict").numbers.cpu_ms > Some(0.0), "{diagnosis:#?}");
    drop(scraper);
}
