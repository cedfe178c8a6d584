use std::time::{Duration, SystemTime};

use super::*;
use crate::pool::Waits;

/// A pool of four threads that was exhausted for so many milliseconds.
fn window(exhausted: u64, longest: u64) -> Window {
    Window {
        runtime: "1".to_owned(),
        name: Some("app".to_owned()),
        shares_name: false,
        is_exhausted: false,
        exhausted: Duration::from_millis(exhausted),
        threads: 4,
        queued: Some(28),
        waits: Waits {
            count: 2,
            sum: Duration::from_millis(longest + 20),
            longest: Duration::from_millis(longest),
            so_far: None,
        },
        samples: 10,
        places: Vec::new(),
    }
}

fn waiters(tasks: usize) -> Waiters {
    Waiters::Known(vec![PoolWaiter {
        method: "GET".to_owned(),
        route: "/resize".to_owned(),
        tasks,
        waits_for: "another task, or blocking work, in app::handler".to_owned(),
    }])
}

fn plain(pools: &[ExhaustedPool]) -> String {
    text(pools, &|_, word| word.to_owned())
}

#[test]
fn short_exhaustion_is_told_if_work_waited_long() {
    let told = |exhausted, longest| of(vec![window(exhausted, longest)], 10.0, None, &waiters(1));
    assert!(told(50, 60).is_empty());
    assert_eq!(told(150, 60).len(), 1);
    assert_eq!(told(50, 160).len(), 1);
}

#[test]
fn sentence_has_threads_queue_and_wait() {
    let pools = of(vec![window(2100, 800)], 10.0, None, &waiters(28));
    let text = plain(&pools);
    for part in [
        "the blocking pool of threads `app` was exhausted: all of its 4 threads were busy for 2.1 s \
         of 10 s while up to 28 pieces of work waited for one, for 800 ms at most, 410 ms on average \
         of 2 probes\n",
        "28 tasks await work that runs or is queued: GET /resize, another task, or blocking work, in app::handler\n",
        "4.0 of 4 threads were running when they were looked at",
        "try bound what is handed to spawn_blocking",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(html(&pools).contains("threads `app` was exhausted</h2>"), "{}", html(&pools));
    assert!(plain(&[]).is_empty() && html(&[]).is_empty());
}

#[test]
fn what_is_not_known_is_said() {
    let mut unknown = window(2100, 800);
    (unknown.queued, unknown.shares_name, unknown.samples) = (None, true, 0);
    let text = plain(&of(vec![unknown], 10.0, None, &Waiters::Unknown("no hooks")));
    for part in [
        "while work waited for one",
        "how much work is queued is not known",
        "--cfg tokio_unstable",
        "threads of another runtime have the same name",
        "what its threads do is not known",
        "which handlers wait for it is not known: no hooks",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn threads_that_compute_are_found_in_cpu_samples() {
    let stack = |own: &str| {
        let names = [
            own,
            "tokio::runtime::blocking::task::BlockingTask<T>::poll",
            "tokio::runtime::task::raw::poll",
        ];
        let frame =
            |name: &&str| Frame { file: "/app/src/main.rs".to_owned(), ..Frame::named(name) };
        names.iter().map(|name| Arc::new(Location::named(frame(name)))).collect()
    };
    let sample = |thread: &str, own: &str, weight| Sample {
        stack: stack(own),
        values: vec![1, weight],
        labels: vec![("thread", thread.to_owned())],
    };
    let cpu = Profile {
        values: Vec::new(),
        samples: vec![
            sample("app", "app::burn", 300),
            sample("app", "app::pack", 100),
            sample("other", "app::elsewhere", 900),
        ],
        start: SystemTime::now(),
        duration: Duration::from_secs(10),
        period: None,
        dropped: 0,
    };
    let pools = of(vec![window(2100, 800)], 10.0, Some(&cpu), &waiters(1));
    let text = plain(&pools);
    assert!(
        text.contains("3 of 4 threads in app::burn (app/src/main.rs:0), computing\n"),
        "{text}"
    );
    assert!(text.contains("1 of 4 threads in app::pack"), "{text}");
    assert!(!text.contains("elsewhere") && pools[0].unknown.is_empty(), "{text}");
}
