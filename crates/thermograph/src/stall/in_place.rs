//! Tells stalls inside of `tokio::task::block_in_place` by their stack.
//!
//! Before it runs what it is given, `block_in_place` hands the worker's tasks to another thread of
//! the blocking pool (`maybe_move_runtime` in `tokio/src/runtime/scheduler/multi_thread/worker.rs`),
//! so that the poll lasts long and holds up nothing but its own task. That is no longer so where the
//! pool has no thread left (`max_blocking_threads`): then none takes over.

use std::sync::Arc;

use thermograph_profile::Location;

/// Functions of Tokio 1.54 that stand on the stack of what runs in place. Where the outer ones are
/// inlined, the debug information has their names.
const FUNCTIONS: [&str; 4] = [
    "tokio::task::blocking::block_in_place",
    "tokio::runtime::scheduler::block_in_place::block_in_place",
    "tokio::runtime::scheduler::multi_thread::worker::block_in_place",
    "tokio::runtime::context::runtime_mt::exit_runtime",
];

/// Whether a thread with this stack has handed its worker over.
pub(crate) fn is_in_place<'a>(stack: impl IntoIterator<Item = &'a Arc<Location>>) -> bool {
    let mut frames = stack.into_iter().flat_map(|location| &location.frames);
    frames.any(|frame| {
        FUNCTIONS.iter().any(|function| {
            let rest = frame.name.strip_prefix(function);
            // `block_in_place::<F, R>`, `block_in_place<F, R>`, or one of its closures.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['<', ':']))
        })
    })
}

#[cfg(test)]
mod tests {
    use thermograph_profile::Frame;

    use super::*;

    #[test]
    fn stack_is_in_place_by_tokio_s_own_functions_in_both_manglings() {
        let is = |name: &str| is_in_place([&Arc::new(Location::named(Frame::named(name)))]);
        for name in [
            "tokio::task::blocking::block_in_place",
            "tokio::task::blocking::block_in_place::<app::save::{closure#0}, ()>",
            "tokio::runtime::scheduler::multi_thread::worker::block_in_place",
            "tokio::runtime::context::runtime_mt::exit_runtime::<app::save::{closure#0}, ()>",
        ] {
            assert!(is(name), "{name}");
        }
        for name in [
            "app::block_in_place",
            "tokio::task::blocking::block_in_places",
            "tokio::runtime::context::runtime_mt::current_enter_context",
            "core::ops::function::FnOnce::call_once<tokio::task::blocking::block_in_place>",
        ] {
            assert!(!is(name), "{name}");
        }
    }
}
