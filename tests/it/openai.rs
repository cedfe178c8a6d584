//! OpenAI's own Python client.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{MODEL, Server, tool};

/// The client's version that the answers are checked with.
const OPENAI: &str = "openai==3.54.0";

#[test]
fn the_openai_package_gets_what_it_expects() {
    let server = Server::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let run = Command::new(python())
        .arg(script)
        .args([server.api("/v1"), MODEL.to_owned()])
        .output()
        .expect("python runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.trim_end().ends_with("all checks passed"), "{stdout}");
}

/// A Python with the client in it: a virtual environment, made once.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(OPENAI);
    let python = venv.join("bin/python");
    let installed = venv.join("installed");
    if !installed.is_file() {
        run(Command::new(tool("python3")).args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", OPENAI]));
        std::fs::write(installed, "").expect("written");
    }
    python
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
