//! Whether stacks get the names of handlers: an async function of this crate is looked up as those
//! of a stack are.

use super::Finding;

/// How a function came out.
#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "names are the pprof crate's"))]
#[derive(Clone, Debug, Default)]
struct Found {
    name: String,
    file: String,
}

const DEBUG: &str = "in Cargo.toml, in the profile that is run: debug = 1 and strip = \"none\"";

#[cfg(sampler)]
pub(super) fn findings() -> Vec<Finding> {
    use crate::diagnostics::sampler::{self, Names};

    let modules = sampler::modules();
    let mut names = Names::new(&modules);
    let address = address_of_poll(&specimen()) as u64;
    let location = names.location(address);
    let found = location
        .frames
        .last()
        .map(|frame| Found { name: frame.name.clone(), file: frame.file.clone() });
    let own = modules.iter().find(|module| module.contains(address));
    vec![handler_names(found.as_ref()), unwind_tables(own.map(sampler::Module::has_unwind_tables))]
}

#[cfg(not(sampler))]
pub(super) fn findings() -> Vec<Finding> {
    vec![Finding::warning(
        "handler_names",
        "stacks are named by the pprof crate here, which was not looked at",
        DEBUG,
    )]
}

#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "names are the pprof crate's"))]
fn handler_names(found: Option<&Found>) -> Finding {
    let what = "handler_names";
    match found {
        None => Finding::bad(
            what,
            "the program has neither debug information nor symbols: stacks are addresses",
            DEBUG,
        ),
        Some(Found { name, .. }) if !name.contains("specimen") => Finding::bad(
            what,
            format!("async handlers come out as `{name}`: the debug information has lines only"),
            DEBUG,
        ),
        Some(Found { file, .. }) if file.is_empty() => Finding::warning(
            what,
            "names come from symbols only: no lines, and no functions that were inlined",
            DEBUG,
        ),
        Some(Found { name, .. }) => Finding::good(
            what,
            format!("an async function of this crate comes out as `{name}`, with file and line"),
        ),
    }
}

#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "unwinding is the pprof crate's"))]
fn unwind_tables(has: Option<bool>) -> Finding {
    let what = "unwind_tables";
    if has == Some(true) {
        return Finding::good(what, "there: stacks are whole");
    }
    Finding::bad(
        what,
        "the program has no unwind tables: stacks end early",
        "RUSTFLAGS: -C force-unwind-tables=yes, beside the flags in .cargo/config.toml",
    )
}

/// What is looked up: a handler as good as any.
#[cfg(sampler)]
async fn specimen() -> u64 {
    std::future::ready(std::hint::black_box(0x7e57)).await
}

/// Where the code of a future's poll is, which is what is on the stack of a handler.
#[cfg(sampler)]
fn address_of_poll<F: Future>(_: &F) -> usize {
    F::poll as *const () as usize
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn named(name: &str, file: &str) -> Finding {
        handler_names(Some(&Found { name: name.to_owned(), file: file.to_owned() }))
    }

    #[test]
    fn how_an_async_function_comes_out_tells_what_the_debug_information_has() {
        let full = named("thermograph::doctor::specimen::{{closure}}", "doctor/names.rs");
        assert_eq!((full.state, full.mend), (State::Good, None));
        let lines = named("{async_fn#0}", "doctor/names.rs");
        assert!(lines.state == State::Bad && lines.says.contains("`{async_fn#0}`"), "{lines:?}");
        assert_eq!(named("thermograph::doctor::specimen::{{closure}}", "").state, State::Warning);
        let nothing = handler_names(None);
        assert_eq!(nothing.state, State::Bad);
        for finding in [lines, nothing] {
            assert!(finding.mend.expect("a line").contains("debug = 1"));
        }
    }

    #[test]
    fn without_unwind_tables_stacks_are_not_whole() {
        assert_eq!(unwind_tables(Some(true)).state, State::Good);
        for none in [Some(false), None] {
            let finding = unwind_tables(none);
            assert_eq!(finding.state, State::Bad);
            assert!(finding.mend.expect("a line").contains("force-unwind-tables"));
        }
    }

    #[cfg(sampler)]
    #[test]
    fn this_test_has_names_and_tables() {
        let findings = findings();
        assert!(findings.iter().all(|finding| finding.state == State::Good), "{findings:?}");
        assert!(findings[0].says.contains("specimen::{{closure}}"), "{findings:?}");
    }
}
