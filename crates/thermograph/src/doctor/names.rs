//! Whether stacks get the names of handlers: an async function of this crate is looked up as those
//! of a stack are.

use std::path::{Path, PathBuf};

use crate::checks::Finding;

/// How a function came out.
#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "names are the pprof crate's"))]
#[derive(Clone, Debug, Default)]
struct Found {
    name: String,
    file: String,
}

const DEBUG: &str = "in Cargo.toml, in the profile that is run: debug = 1 and strip = \"none\"";
/// Where separate debug information is looked for.
const SEPARATE: &str = "the file with it beside the program (objcopy --add-gnu-debuglink), or below \
                        /usr/lib/debug/.build-id";

#[cfg(sampler)]
pub(super) fn findings() -> Vec<Finding> {
    use thermograph_sampler::{DebugInfo, Names};

    let modules = thermograph_sampler::modules();
    let mut names = Names::new(&modules);
    let address = address_of_poll(&specimen()) as u64;
    let location = names.location(address);
    let found = location
        .frames
        .last()
        .map(|frame| Found { name: frame.name.clone(), file: frame.file.clone() });
    let own = modules.iter().find(|module| module.contains(address));
    let info = names.debug_info(address);
    let handler_names = match &info {
        Some(DebugInfo::Missing { file, tried }) => missing(found.is_some(), file, tried),
        _ if names.has_lines_only(address) => lines_only(),
        Some(DebugInfo::In(file)) => {
            let finding = handler_names(found.as_ref());
            Finding { says: format!("{}, from {}", finding.says, file.display()), ..finding }
        }
        Some(DebugInfo::Inside | DebugInfo::None) | None => handler_names(found.as_ref()),
    };
    vec![handler_names, unwind_tables(own.map(thermograph_sampler::Module::has_unwind_tables))]
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
            format!("{DEBUG}; or, where they were taken out of the program, {SEPARATE}"),
        ),
        Some(Found { name, .. }) if !name.contains("specimen") => Finding::bad(
            what,
            format!("async handlers come out as `{name}`: the debug information has lines only"),
            DEBUG,
        ),
        Some(Found { file, .. }) if file.is_empty() => Finding::warning(
            what,
            "names come from symbols only: no lines, and no functions that were inlined",
            format!("{DEBUG}; or, where it was taken out of the program, {SEPARATE}"),
        ),
        Some(Found { name, .. }) => Finding::good(
            what,
            format!("an async function of this crate comes out as `{name}`, with file and line"),
        ),
    }
}

/// The build has debug information, in a file that the program names and that is not there.
#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "names are the pprof crate's"))]
fn missing(has_symbols: bool, file: &Path, tried: &[PathBuf]) -> Finding {
    let what = "handler_names";
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let tried: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
    let tried = tried.join(", ");
    let says = format!(
        "the debug information is in {name}, which is not there, or not of this build: {tried}"
    );
    let place = format!("put {name} of the same build beside the program");
    if has_symbols {
        let says = format!("{says}; names come from symbols, without functions that were inlined");
        return Finding::warning(what, says, place);
    }
    Finding::bad(what, format!("{says}; stacks are addresses"), place)
}

/// Names of functions that are inlined have no path.
#[cfg_attr(not(any(sampler, test)), expect(dead_code, reason = "names are the pprof crate's"))]
fn lines_only() -> Finding {
    Finding::warning(
        "handler_names",
        "the debug information has lines only: functions that are inlined, async handlers too, \
         have names without their crate and type",
        DEBUG,
    )
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
    use super::*;
    use crate::checks::State;

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
    fn debug_information_that_is_elsewhere_is_asked_for_by_its_name() {
        let beside = ["/srv/app.debug", "/srv/.debug/app.debug"].map(PathBuf::from);
        for (has_symbols, state) in [(true, State::Warning), (false, State::Bad)] {
            let finding = missing(has_symbols, Path::new("app.debug"), &beside);
            assert!(finding.state == state && finding.says.contains("/srv/.debug/app.debug"));
            let mend = finding.mend.expect("a line");
            assert!(mend.contains("app.debug") && !mend.contains("debug = 1"), "{mend}");
        }
    }

    #[test]
    fn lines_only_are_a_warning_with_the_line_that_gives_more() {
        let finding = lines_only();
        assert_eq!(finding.state, State::Warning);
        assert!(finding.mend.expect("a line").contains("debug = 1"));
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
