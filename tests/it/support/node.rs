//! Clients in JavaScript, with packages of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use super::{script, tool};

/// Runs a script of the tests' folder, which must go through to its last line.
pub(crate) fn check(packages: &[&str], script: &str, arguments: &[&str]) {
    let folder = with(packages);
    let script = script::path(script);
    // Modules are looked for beside the script.
    let copy = folder.join(script.file_name().expect("a file"));
    std::fs::copy(&script, &copy).expect("copied");
    script::pass(Command::new(tool("node")).arg(copy).args(arguments));
}

/// A folder with these packages in it, made once.
fn with(packages: &[&str]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("node-{}", packages.join("-"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let installed = folder.join("installed");
    if !installed.is_file() {
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut install = Command::new(tool("npm"));
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
        script::run(install.arg("--prefix").arg(&folder).args(packages));
        std::fs::write(installed, "").expect("written");
    }
    folder
}
