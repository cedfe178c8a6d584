//! OpenAI's own Python client.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::{MODEL, Server, get, mock::Mock, tool, wait};

/// The client's version that the answers are checked with.
const OPENAI: &str = "openai==3.54.0";

#[test]
fn the_openai_package_gets_what_it_expects() {
    let server = Server::start();
    check("openai_client.py", &[&server.api("/v1"), MODEL]);
}

#[test]
fn the_openai_package_gets_what_it_expects_from_upstreams() {
    let [a, b] = [(); 2].map(|()| Mock::start(&["--models=mock,org/model"]));
    let toml = format!(
        r#"
            # What is tried again, the client does; and what fails on purpose opens no breaker.
            [gateway]
            retries = 0
            breaker_requests = 1000000

            [upstreams.a]
            url = "http://{}"

            [upstreams.b]
            url = "http://{}"
        "#,
        a.address, b.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    wait("it knows what they have", || get(&server.api("/health/ready")).status == 200);
    check("openai_gateway.py", &[&server.api("/v1"), MODEL, &a.url(""), &b.url("")]);
}

/// Runs a script of this folder's parent, which must go through to its last line.
fn check(script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let run = Command::new(python()).arg(script).args(arguments).output().expect("python runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.trim_end().ends_with("all checks passed"), "{stdout}");
}

/// A Python with the client in it: a virtual environment, made once.
fn python() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> PathBuf {
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
