//! Stacks without the machinery, for pictures.
//!
//! Between a thread's start and a handler lie some sixty frames of the standard library, the
//! runtime and the framework. They say nothing that anybody chose, and make a tower of a picture.
//! Captures keep them; pictures leave them out, but for the leaf: time is spent there, in whichever
//! crate it is.

mod source;

use std::{borrow::Cow, path::Path, sync::Arc};

use self::source::is_dependency;
use super::profile::Frame;

pub use self::source::path_of;

/// Crates whose frames are machinery.
const CRATES: [&str; 23] = [
    // Functions that the compiler puts before the program's allocator.
    "__rustc",
    "alloc",
    "axum",
    "axum_core",
    "core",
    "futures_core",
    "futures_executor",
    "futures_util",
    "h2",
    "http_body",
    "http_body_util",
    "hyper",
    "hyper_util",
    "pin_project_lite",
    "rayon",
    "rayon_core",
    "std",
    "tokio",
    "tower",
    "tower_http",
    "tower_layer",
    "tower_service",
    "tracing",
];
/// Types of the language: their functions are the standard library's.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "f32", "f64", "i128", "i16", "i32", "i64", "i8", "isize", "str", "u128", "u16",
    "u32", "u64", "u8", "usize",
];
/// The packages of the diagnostics: every handler stands on their frames.
const OURS: [&str; 4] =
    ["thermograph", "thermograph-cross-site", "thermograph-profile", "thermograph-sampler"];
/// Prefix of the names of jemalloc's functions.
const JEMALLOC: &str = "_rjem_";
/// Functions of the C library that start a thread.
const STARTS: [&str; 5] = ["_start", "__libc_start_main", "clone", "clone3", "start_thread"];

/// Leaves the machinery out of a stack's names, and those that repeat the one below them; the
/// leaf's is the first, and stays.
pub(crate) fn strip(names: &mut Vec<Cow<'_, str>>) {
    let mut is_leaf = true;
    names.retain(|name| std::mem::take(&mut is_leaf) || !is_plumbing(name));
    names.dedup();
}

/// Leaves the machinery out of a stack of memory: what asked for it is looked for, and the language's
/// collections at the leaf are not that. The leaf stays where nothing else does.
pub(crate) fn strip_of_memory(names: &mut Vec<Cow<'_, str>>) {
    if names.iter().all(|name| is_plumbing(name)) {
        names.truncate(1);
    }
    let is_only = names.len() == 1;
    names.retain(|name| is_only || !is_plumbing(name));
    names.dedup();
}

/// Returns whether a function is the allocator's, or one that the language puts before it.
pub fn allocates(name: &str) -> bool {
    const PARTS: [&str; 7] = [
        JEMALLOC,
        "__rust_alloc",
        "__rust_realloc",
        "alloc::alloc::",
        "core::alloc::",
        "alloc::raw_vec::",
        "tikv_jemallocator::",
    ];
    let name = name.trim_start_matches('<');
    PARTS.iter().any(|part| name.starts_with(part)) || name.contains(" as core::alloc::")
}

/// The frame that says where an app stands: the first of its own code, or else of a library that
/// works for it, or else the leaf. `of` gives a frame's name and file; the leaf is the first of the
/// stack. `None` if the stack is empty.
///
/// ```
/// use thermograph_profile::plumbing::standpoint;
///
/// let stack = [
///     ("core::ptr::read_volatile", "/rustc/1/library/core/src/ptr/mod.rs"),
///     ("app::handlers::hot", "src/handlers.rs"),
///     ("app::main", "src/main.rs"),
/// ];
/// let own = standpoint(&stack, |(name, file)| (name, file));
/// assert_eq!(own, Some(&("app::handlers::hot", "src/handlers.rs")));
/// ```
pub fn standpoint<'a, T>(
    stack: &'a [T],
    of: impl Fn(&'a T) -> (&'a str, &'a str),
) -> Option<&'a T> {
    own_or_chosen(stack, of).or_else(|| stack.first())
}

/// The function that a thread stood in, of those at one address, the innermost of inlined ones
/// first: the first of the app's own, or else of a library that works for it, or else the one that
/// the others are inlined into. `None` if there is no frame.
pub fn function_at(frames: &[Arc<Frame>]) -> Option<&Arc<Frame>> {
    own_or_chosen(frames, |frame| (&frame.name, &frame.file)).or_else(|| frames.last())
}

fn own_or_chosen<'a, T>(
    frames: &'a [T],
    of: impl Fn(&'a T) -> (&'a str, &'a str),
) -> Option<&'a T> {
    let first = |is: fn(&str, &str) -> bool| {
        frames.iter().find(|frame| {
            let (name, file) = of(frame);
            is(name, file)
        })
    };
    first(is_own).or_else(|| first(is_chosen))
}

/// Returns whether a function is of the app's choice: of the app, or of a library that works for it.
///
/// Debug information with lines only (`debug = "line-tables-only"`) has names without the path of
/// their crate: there the source file decides.
pub fn is_chosen(name: &str, file: &str) -> bool {
    if has_path(name) { !is_plumbing(name) } else { is_own_source(file) }
}

/// Returns whether a function is the app's own code, and no library's.
pub fn is_own(name: &str, file: &str) -> bool {
    is_chosen(name, file) && !is_dependency(file)
}

/// Returns whether a function polls a handler or a task, so that its callees belong to these.
pub fn polls(name: &str) -> bool {
    is_ours(name) || name.contains("tokio::runtime::task::")
}

/// Returns whether a demangled name has the path of its crate; paths in generic arguments do not count.
pub fn has_path(name: &str) -> bool {
    // `<T as a::B>::c`, and `<impl a::B for T>::c`.
    if name.starts_with('<') {
        return name.contains("::");
    }
    name.split(['<', '(', ' ']).next().is_some_and(|path| path.contains("::"))
}

/// Whether a source file is Rust code of the app's own.
fn is_own_source(file: &str) -> bool {
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    is_rust && !is_dependency(file) && !source::is_of_the_diagnostics(file)
}

/// Returns whether a function is machinery, by its demangled name.
fn is_plumbing(name: &str) -> bool {
    // Of a file without names, as the C library is; what a stack lacks stays.
    if name.starts_with('[') && name.ends_with(']') && name.contains(".so") {
        return true;
    }
    // A function in a crate has a path: the thread `tokio-runtime-worker` and a span `h2` have none.
    let of = crate_of(name);
    let of_a_crate = has_path(name) && (CRATES.contains(&of) || PRIMITIVES.contains(&of));
    of_a_crate || STARTS.contains(&name) || name.starts_with(JEMALLOC) || is_ours(name)
}

/// Returns true if a demangled name is a function of the diagnostics.
fn is_ours(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    name.split_once("::").is_some_and(|(of, _)| OURS.iter().any(|package| is_named(of, package)))
}

/// Returns true if a crate has the name that cargo derives from a package.
fn is_named(of: &str, package: &str) -> bool {
    let letter = |letter| if letter == '-' { '_' } else { letter };
    of.chars().eq(package.chars().map(letter))
}

/// The crate that a demangled name belongs to: `core` for `<core::Foo<T> as b::C>::d`, and `b`
/// for `<T as b::C>::d`, where only the trait has one.
fn crate_of(name: &str) -> &str {
    let name = name.trim_start_matches(['<', '&', '*', '(', '[']);
    let name =
        ["dyn ", "mut ", "const "].iter().fold(name, |name, word| name.trim_start_matches(word));
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    let (first, rest) = name.split_at(end);
    match rest.split_once(" as ") {
        Some((between, of_trait)) if !rest.starts_with("::") && !between.contains("::") => {
            crate_of(of_trait)
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_of_a_name_is_the_type_s_and_else_the_trait_s() {
        for (name, of) in [
            ("app::hot::{{closure}}", "app"),
            ("__rustc::__rust_realloc", "__rustc"),
            ("<core::panic::AssertUnwindSafe<F> as core::ops::FnOnce<()>>::call_once", "core"),
            ("<alloc::boxed::Box<dyn app::Work> as core::ops::FnOnce<()>>::call_once", "alloc"),
            ("<F as axum::handler::Handler<(M, T1), S>>::call::{{closure}}", "axum"),
            ("<app::Mine as core::future::Future>::poll", "app"),
            ("<&mut T as tower::Service>::call", "tower"),
            ("<[u8]>::to_vec", "u8"),
            ("memcpy", "memcpy"),
        ] {
            assert_eq!(crate_of(name), of, "{name}");
        }
    }

    /// The names that are left of a stack, the leaf first.
    fn stripped<'a>(names: &[&'a str]) -> Vec<Cow<'a, str>> {
        let mut names = names.iter().map(|name| Cow::Borrowed(*name)).collect();
        strip(&mut names);
        names
    }

    #[test]
    fn the_leaf_stays_whoever_s_it_is() {
        let left = stripped(&[
            "core::hint::spin_loop",
            "std::sync::Mutex::lock",
            "app::hot::{{closure}}",
            "app::hot::{{closure}}",
            "h2::server::Connection<T,B>::poll_closed",
            "tokio::runtime::task::raw::poll",
            "clone3",
        ]);
        assert_eq!(left, ["core::hint::spin_loop", "app::hot::{{closure}}"]);
    }

    #[test]
    fn of_memory_it_is_what_asked_for_it_that_stays() {
        let stripped = |names: &[&'static str]| {
            let mut names = names.iter().map(|name| Cow::Borrowed(*name)).collect();
            strip_of_memory(&mut names);
            names
        };
        let library = ["alloc::vec::Vec<T>::push", "core::iter::Iterator::for_each"];
        let app = ["app::hoard", "app::hoard", "tokio::runtime::task::raw::poll", "clone3"];
        assert_eq!(stripped(&[&library[..], &app].concat()), ["app::hoard"]);
        // Where nobody chose anything, it is known at least for what it was.
        assert_eq!(stripped(&[&library[..], &app[2..]].concat()), ["alloc::vec::Vec<T>::push"]);
        assert_eq!(stripped(&["app::hoard"]), ["app::hoard"]);
        assert!(stripped(&[]).is_empty());
    }

    #[test]
    fn the_allocator_is_known_by_its_names() {
        let its = [
            "_rjem_je_prof_backtrace",
            "__rust_alloc_zeroed",
            "alloc::alloc::alloc",
            "<alloc::alloc::Global as core::alloc::Allocator>::grow",
            "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc",
            "alloc::raw_vec::RawVecInner<A>::with_capacity_in",
        ];
        assert!(its.into_iter().all(allocates));
        let others = [
            "alloc::vec::Vec<T>::push",
            "<&A as rten_tensor::storage::Alloc>::alloc",
            "app::alloc",
        ];
        assert!(!others.into_iter().any(allocates));
    }

    #[test]
    fn a_library_without_names_stays_only_as_a_leaf() {
        let names = ["[libc.so.6]", "app::hot", "[libc.so.6]"];
        assert_eq!(stripped(&names), ["[libc.so.6]", "app::hot"]);
    }

    #[test]
    fn what_somebody_chose_has_a_path_and_is_no_machinery() {
        let chosen = ["app::hot::{{closure}}", "serde_json::from_str", "<app::A as core::B>::c"];
        assert!(chosen.into_iter().all(|name| is_chosen(name, "")));
        let others =
            ["clock_nanosleep", "<u64>::wrapping_mul", "std::thread::sleep", "[libc.so.6]"];
        assert!(!others.into_iter().any(|name| is_chosen(name, "")));
        let of = |stack: &[(&'static str, &'static str)]| {
            standpoint(stack, |(name, file)| (name, file)).map(|(name, _)| *name)
        };
        let library =
            ("serde_json::to_vec", "/home/me/.cargo/registry/src/x/serde_json/src/ser.rs");
        let leaf = ("memcpy", "");
        assert_eq!(of(&[leaf, library, ("app::hot", "src/main.rs")]), Some("app::hot"));
        assert_eq!(of(&[leaf, library]), Some("serde_json::to_vec"));
        assert_eq!(of(&[leaf]), Some("memcpy"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn name_without_a_path_is_own_by_its_file() {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plumbing.rs");
        for (name, file, own) in [
            ("burn", "/srv/app/src/main.rs", true),
            ("{async_fn#0}", "/srv/app/src/main.rs", true),
            ("poll<core::pin::Pin<alloc::boxed::Box<T>>>", "/srv/app/src/future.rs", true),
            ("poll", ours, false),
            ("poll", "/root/.cargo/registry/src/index-1/tokio-1.54.1/src/park.rs", false),
            ("poll", "/root/.cargo/git/checkouts/tokio-af01/8be/tokio/src/park.rs", false),
            ("spin_loop", "/rustc/5980/library/core/src/hint.rs", false),
            ("burn", "", false),
            // The C library has lines where its debug information is installed.
            ("futex_wait", "./nptl/../sysdeps/nptl/futex-internal.h", false),
            ("app::burn", "/srv/app/src/main.rs", true),
            ("std::thread::sleep", "/srv/app/src/main.rs", false),
        ] {
            assert_eq!(is_own(name, file), own, "{name} {file}");
        }
    }

    #[test]
    fn function_at_an_address_is_the_innermost_inlined_one_of_the_app() {
        const APP: &str = "/srv/app/src/main.rs";
        const AXUM: &str = "/root/.cargo/registry/src/index-1/axum-0.8.9/src/handler/mod.rs";
        const SERDE: &str = "/root/.cargo/registry/src/index-1/serde_json-1.0.0/src/de.rs";
        let handler = "<F as axum::handler::Handler<((),),S>>::call";
        let at = |frames: &[(&str, &str)]| {
            let frame = |(name, file): &(&str, &str)| {
                Arc::new(Frame { file: (*file).to_owned(), ..Frame::named(name) })
            };
            let frames: Vec<_> = frames.iter().map(frame).collect();
            function_at(&frames).map(|frame| frame.name.clone())
        };
        let std = ("core::num::<impl u64>::rotate_left", "/rustc/1/library/core/src/num/mod.rs");
        let burn = ("clinic::burn", APP);
        let route = ("clinic::cpu_burn::{{closure}}", APP);
        assert_eq!(at(&[std, burn, route, (handler, AXUM)]).as_deref(), Some("clinic::burn"));
        assert_eq!(at(&[std, ("serde_json::from_str", SERDE), burn]).as_deref(), Some(burn.0));
        let parse = ("serde_json::from_str", SERDE);
        assert_eq!(at(&[std, parse, (handler, AXUM)]).as_deref(), Some(parse.0));
        // All of it is machinery: the function that the linker knows.
        assert_eq!(at(&[std, (handler, AXUM)]).as_deref(), Some(handler));
        assert_eq!(at(&[]), None);
    }

    #[test]
    fn what_has_no_path_is_of_no_crate() {
        let names = ["memcpy", "h2", "[truncated]", "tokio-runtime-worker"];
        assert_eq!(stripped(&names), names);
    }
}
