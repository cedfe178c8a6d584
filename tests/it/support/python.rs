//! Clients in Python, with packages of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use super::{script, tool};

/// Runs a script of the tests' folder, which must go through to its last line.
pub(crate) fn check(packages: &[&str], script: &str, arguments: &[&str]) {
    script::pass(Command::new(with(packages)).arg("-B").arg(script::path(script)).args(arguments));
}

/// A program of these packages.
pub(crate) fn program(packages: &[&str], name: &str) -> Command {
    Command::new(with(packages).with_file_name(name))
}

/// A Python with these packages in it: a virtual environment, made once.
fn with(packages: &[&str]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(packages.join("-"));
    let python = venv.join("bin/python");
    let installed = venv.join("installed");
    if !installed.is_file() {
        script::run(Command::new(tool("python3")).args(["-m", "venv", "--clear"]).arg(&venv));
        let mut install = Command::new(&python);
        script::run(install.args(["-m", "pip", "install", "--quiet"]).args(packages));
        std::fs::write(installed, "").expect("written");
    }
    python
}
