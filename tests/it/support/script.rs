//! Scripts of the tests' folder, in other languages.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub(super) fn path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script)
}

/// Runs a script, which must go through to its last line.
pub(super) fn pass(command: &mut Command) {
    let run = command.output().expect("it runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.trim_end().ends_with("all checks passed"), "{stdout}");
}

/// Runs a command that must succeed.
pub(super) fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
