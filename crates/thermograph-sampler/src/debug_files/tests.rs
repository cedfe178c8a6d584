//! Programs are compiled for these tests, and their debug information is put where people put it.

use std::{
    env,
    path::{Path, PathBuf},
    process::{self, Command},
};

use object::ObjectSymbol as _;
use thermograph_profile::{Frame, plumbing};

use super::*;
use crate::names;

/// `core` and `burn` are inlined into `outer`, which the linker knows.
const SOURCE: &str = "
#[inline(always)]
fn burn(seed: u64) -> u64 {
    (0..1000_u64).fold(seed, |mix, more| std::hint::black_box(mix.rotate_left(5) ^ more))
}
#[inline(never)]
fn outer(seed: u64) -> u64 {
    burn(seed)
}
fn main() {
    println!(\"{}\", outer(std::env::args().count() as u64));
}
";

/// A directory with a program in it, removed when dropped.
struct App(PathBuf);

impl App {
    fn new(test: &str, options: &[&str]) -> Self {
        let directory = env::temp_dir().join(format!("thermograph-{test}-{}", process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let app = Self(directory);
        fs::write(app.path("main.rs"), SOURCE).expect("written");
        let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let main = app.path("main.rs");
        let main = main.to_str().expect("text");
        let build_id = "-Clink-arg=-Wl,--build-id";
        app.run(&rustc, &[&[main, "--crate-name=app", "-O", build_id], options].concat());
        app
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(&self.0).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Takes the debug information out of the program, into a file of this name.
    fn separate(&self, into: &str) {
        self.run("objcopy", &["--only-keep-debug", "app", into]);
        self.run("objcopy", &["--strip-debug", "app"]);
    }

    fn files(&self) -> DebugFiles {
        DebugFiles::open(&self.path("app"), &self.path("app"), &self.path("global"))
    }

    fn build_id(&self) -> String {
        let file = Image::open(&self.path("app")).expect("opens");
        let object = file.object().expect("a program");
        let id = object.build_id().expect("readable").expect("there is one");
        hex(id)
    }

    /// The functions at an address in `outer` where something of this name is inlined, or else at
    /// the first one in it.
    fn at(&self, files: &DebugFiles, inlined: &str) -> Vec<Frame> {
        let file = Image::open(&self.path("app")).expect("opens");
        let object = file.object().expect("a program");
        let mut symbols = object.symbols();
        let outer = symbols.find(|symbol| symbol.name().is_ok_and(|name| name.contains("5outer")));
        let outer = outer.expect("a symbol");
        let at = |address| names::frames(files, address);
        let mut found = (outer.address()..outer.address() + outer.size()).map(at);
        let has = |frames: &Vec<_>| {
            frames.iter().any(|frame: &std::sync::Arc<Frame>| frame.name.contains(inlined))
        };
        let frames = found.find(has).unwrap_or_else(|| at(outer.address()));
        frames.iter().map(|frame| (**frame).clone()).collect()
    }

    /// Asserts that the app's own inlined function comes out with file and line.
    fn assert_has_inlined_functions(&self) {
        let files = self.files();
        let frames = self.at(&files, "burn");
        let frames: Vec<_> = frames.into_iter().map(std::sync::Arc::new).collect();
        let own = plumbing::function_at(&frames).expect("functions");
        assert!(own.name.starts_with("app::burn"), "{:?}: {frames:?}", files.found());
        assert_eq!((Path::new(&own.file), own.line), (&*self.path("main.rs"), 4), "{frames:?}");
        assert_eq!(frames.last().map(|outer| outer.name.as_str()), Some("app::outer"));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn program_with_its_debug_information_needs_no_other_file() {
    let app = App::new("inside", &["-Cdebuginfo=1"]);
    app.assert_has_inlined_functions();
    assert_eq!(app.files().found(), DebugInfo::Inside);
}

#[test]
fn debug_link_is_followed_to_every_directory_that_gdb_searches() {
    let app = App::new("link", &["-Cdebuginfo=1"]);
    app.separate("app.debug");
    app.run("objcopy", &["--add-gnu-debuglink=app.debug", "app"]);
    app.assert_has_inlined_functions();
    assert_eq!(app.files().found(), DebugInfo::In(app.path("app.debug")));

    let inside = app.0.strip_prefix("/").expect("absolute");
    for directory in [app.path(".debug"), app.path("global").join(inside)] {
        let (from, to) = (app.path("app.debug"), directory.join("app.debug"));
        fs::create_dir_all(directory).expect("a directory");
        fs::copy(&from, &to).expect("copied");
        fs::rename(from, app.path("app.debug.moved")).expect("moved");
        app.assert_has_inlined_functions();
        assert_eq!(app.files().found(), DebugInfo::In(to.clone()));
        fs::remove_file(to).expect("removed");
        fs::rename(app.path("app.debug.moved"), app.path("app.debug")).expect("moved back");
    }
}

#[test]
fn debug_file_of_another_build_is_not_used() {
    let app = App::new("checksum", &["-Cdebuginfo=1"]);
    app.separate("app.debug");
    app.run("objcopy", &["--add-gnu-debuglink=app.debug", "app"]);
    let mut bytes = fs::read(app.path("app.debug")).expect("read");
    bytes.push(0);
    fs::write(app.path("app.debug"), bytes).expect("written");
    let files = app.files();
    let DebugInfo::Missing { file, tried } = files.found() else { panic!("{:?}", files.found()) };
    assert_eq!(file, Path::new("app.debug"));
    assert!(tried.contains(&app.path("app.debug")) && tried.len() >= 4, "{tried:?}");
    // The symbols are still in the program.
    let names: Vec<_> = app.at(&files, "burn").into_iter().map(|frame| frame.name).collect();
    assert_eq!(names, ["app::outer"]);
}

#[test]
fn debug_file_is_found_by_build_id() {
    let app = App::new("build-id", &["-Cdebuginfo=1"]);
    app.separate("app.debug");
    assert_eq!(app.files().found(), DebugInfo::None);
    let id = app.build_id();
    let directory = app.path("global").join(".build-id").join(&id[..2]);
    fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join(format!("{}.debug", &id[2..]));
    fs::rename(app.path("app.debug"), &path).expect("moved");
    app.run("strip", &["app"]);
    assert_eq!(app.files().found(), DebugInfo::In(path));
    // Its symbols are in the separate file, too.
    let unstripped = App::new("build-id-symbols", &["-Cdebuginfo=1"]);
    let frames = unstripped.at(&app.files(), "burn");
    assert!(frames.iter().any(|frame| frame.name.starts_with("app::burn")), "{frames:?}");
}

#[test]
fn debug_information_that_is_compressed_is_read() {
    let app = App::new("compressed", &["-Cdebuginfo=1"]);
    app.separate("app.debug");
    app.run("objcopy", &["--compress-debug-sections=zlib", "app.debug"]);
    app.run("objcopy", &["--add-gnu-debuglink=app.debug", "app"]);
    app.assert_has_inlined_functions();
}

#[test]
fn package_of_split_debug_information_is_found_beside_the_program() {
    let app = App::new("packed", &["-Cdebuginfo=1", "-Csplit-debuginfo=packed"]);
    app.assert_has_inlined_functions();
    assert_eq!(app.files().found(), DebugInfo::In(app.path("app.dwp")));
    // As a process reads itself.
    let place = app.path("app");
    fs::hard_link(&place, app.path("exe")).expect("linked");
    let files = DebugFiles::open(&app.path("exe"), &place, &app.path("global"));
    assert!(app.at(&files, "burn").len() > 1);

    fs::remove_file(app.path("app.dwp")).expect("removed");
    let files = app.files();
    let DebugInfo::Missing { file, .. } = files.found() else { panic!("{:?}", files.found()) };
    assert_eq!(file, app.path("app.dwp"));
    let frames = app.at(&files, "burn");
    assert_eq!(frames[0].name, "app::outer", "{frames:?}");
    assert!(frames[0].line > 0, "the lines are in the program: {frames:?}");
}

#[test]
fn objects_of_split_debug_information_are_found_where_they_were_written() {
    let app = App::new("unpacked", &["-Cdebuginfo=1", "-Csplit-debuginfo=unpacked"]);
    app.assert_has_inlined_functions();
    let DebugInfo::In(object) = app.files().found() else { panic!("{:?}", app.files().found()) };
    assert_eq!(object.extension(), Some("dwo".as_ref()));
}

#[test]
fn functions_with_lines_only_have_the_paths_that_symbols_and_files_tell() {
    let app = App::new("lines", &["-Cdebuginfo=line-tables-only"]);
    let files = app.files();
    let frames = app.at(&files, "rotate_left");
    let names: Vec<_> = frames.iter().map(|frame| frame.name.as_str()).collect();
    assert!(names.contains(&"core::num::uint_macros::rotate_left"), "{names:?}");
    assert_eq!(names.last(), Some(&"app::outer"), "{names:?}");
    assert!(names.contains(&"burn"), "{names:?}");
    let frames: Vec<_> = frames.into_iter().map(std::sync::Arc::new).collect();
    let own = plumbing::function_at(&frames).expect("functions");
    // The closure of `burn` is own, too, and is called by `core`.
    assert_eq!((Path::new(&own.file), own.line), (&*app.path("main.rs"), 4), "{frames:?}");
    assert!(plumbing::is_own(&own.name, &own.file));
}
