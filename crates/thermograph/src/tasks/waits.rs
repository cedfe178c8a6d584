//! What a task waits for, told from the stack of what it awaits.

use std::sync::Arc;

use thermograph_profile::{Frame, Location, plumbing};

use super::{FILE, JOIN};

/// Parts of functions' names, and what who waits in one waits for; the first that fits.
const RULES: [(&str, &str); 18] = [
    ("tokio::time::", "a timer"),
    ("tokio::sync::mpsc::", "a channel (mpsc)"),
    ("tokio::sync::oneshot::", "a channel (oneshot)"),
    ("tokio::sync::broadcast::", "a channel (broadcast)"),
    ("tokio::sync::watch::", "a channel (watch)"),
    ("tokio::sync::mutex::", "a lock (Mutex)"),
    ("tokio::sync::rwlock::", "a lock (RwLock)"),
    ("tokio::sync::semaphore::", "a permit (Semaphore)"),
    ("tokio::sync::notify::", "a notification (Notify)"),
    ("tokio::sync::barrier::", "a barrier"),
    ("tokio::sync::once_cell::", "a value (OnceCell)"),
    ("tokio::sync::batch_semaphore::", "a lock or a permit"),
    ("tokio::runtime::task::join::", JOIN),
    ("tokio::io::util::mem::", "a pipe in memory"),
    ("tokio::net::", "a socket"),
    ("tokio::process::", "a process"),
    ("tokio::fs::", FILE),
    ("hyper::", "its connection"),
];
/// Frames of a leaf that are looked at: what is awaited is near.
const NEAR: usize = 24;

/// What and where, in a line.
pub(super) fn told(stack: &[Arc<Location>]) -> String {
    let frames: Vec<&Arc<Frame>> = stack.iter().flat_map(|location| &location.frames).collect();
    let what = what(&frames).unwrap_or("something");
    let at = plumbing::standpoint(&frames, |frame| (&frame.name, &frame.file));
    match at.map(|frame| &***frame) {
        // Where nothing is the app's own, the leaf says nothing that `what` does not.
        Some(Frame { name, file, line, .. }) if plumbing::is_chosen(name, file) => {
            let name = name.trim_end_matches("::{{closure}}");
            if file.is_empty() {
                format!("{what}, in {name}")
            } else {
                format!("{what}, in {name} ({file}:{line})")
            }
        }
        _ => what.to_owned(),
    }
}

/// The stack without the way from what is awaited to the waker that it cloned.
pub(super) fn without_waker(stack: &mut Vec<Arc<Location>>) {
    let is_waker = |frame: &Arc<Frame>| {
        frame.name.contains("thermograph_sampler::awaits::")
            || frame.name.contains("core::task::wake::")
    };
    let to_waker = |location: &Arc<Location>| location.frames.iter().any(is_waker);
    // Of a frame that ours is inlined into, what is outside of ours stays.
    let end = stack.iter().position(|location| !to_waker(location)).unwrap_or(0);
    stack.drain(..end);
}

fn what(frames: &[&Arc<Frame>]) -> Option<&'static str> {
    // Only as far as nobody has chosen: the app's own functions await what they like.
    let is_chosen = |frame: &&&Arc<Frame>| plumbing::is_chosen(&frame.name, &frame.file);
    let near: Vec<_> = frames.iter().take(NEAR).take_while(|frame| !is_chosen(frame)).collect();
    // The outermost that fits is what the app asked for: a mutex waits by a semaphore.
    near.iter().rev().find_map(|frame| {
        let fits = |(part, _): &&(&str, &str)| frame.name.contains(part);
        RULES.iter().find(fits).map(|(_, what)| *what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str]) -> Vec<Arc<Location>> {
        let location = |name: &&str| Arc::new(Location::named(Frame::named(name)));
        names.iter().map(location).collect()
    }

    #[test]
    fn it_is_what_the_app_asked_for_and_where() {
        for (names, said) in [
            (
                &[
                    "tokio::sync::batch_semaphore::Semaphore::poll_acquire",
                    "tokio::sync::mutex::Mutex<T>::lock::{{closure}}",
                    "app::handler::{{closure}}",
                    "axum::handler::call",
                ][..],
                "a lock (Mutex), in app::handler",
            ),
            (&["tokio::time::sleep::Sleep::poll", "app::a"], "a timer, in app::a"),
            (&["app::by_hand", "tokio::time::x", "app::b"], "something, in app::by_hand"),
            (&["hyper::proto::h1::poll"], "its connection"),
            (&["core::future::poll_fn"], "something"),
            (&[], "something"),
        ] {
            assert_eq!(told(&stack(names)), said, "{names:?}");
        }
    }

    #[test]
    fn the_waker_s_own_frames_are_left_out() {
        let mut all = stack(&[
            "thermograph_sampler::awaits::clone",
            "<core::task::wake::Waker as core::clone::Clone>::clone",
            "tokio::time::sleep::Sleep::poll",
            "app::a",
        ]);
        without_waker(&mut all);
        assert_eq!(all, stack(&["tokio::time::sleep::Sleep::poll", "app::a"]));
    }
}
