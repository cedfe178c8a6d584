//! The README's first example in a crate of its own, as a user would set it up.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::{agent, free_address, get, wait};

/// A crate with a compile-time level of `tracing` that keeps spans out: with the features that a
/// user's other dependencies may set, and the README's lines for the rest.
const MANIFEST: &str = r#"
[package]
name = "user-crate"
version = "0.1.0"
edition = "2024"

[dependencies]
axum = "0.8"
thermograph = { path = "REPOSITORY/crates/thermograph" }
tokio = { version = "1", features = ["full"] }
tracing = { version = "0.1", features = ["release_max_level_info"] }
# What is switched on by default needs a crate more than the repository has.
tracing-subscriber = { version = "0.3", default-features = false, features = ["registry", "std"] }

# A release, for `tracing`, that is soon built.
[profile.dev]
debug = false
debug-assertions = false
incremental = false

[workspace]
"#;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first block of code under "In your own app", with other addresses.
fn example(app: SocketAddr, door: SocketAddr) -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## In your own app").expect("a section");
    let (_, code) = section.split_once("```rust,no_run\n").expect("a block of code");
    let (code, _) = code.split_once("```").expect("its end");
    let replace = |code: &str, from: &str, to: &str| {
        assert_eq!(code.matches(from).count(), 1, "{from} in {code}");
        code.replace(from, to)
    };
    let code = replace(code, "127.0.0.1:3000", &app.to_string());
    let listen = format!("builder().listen(\"{door}\".parse::<std::net::SocketAddr>()?)");
    replace(&code, "builder()", &listen)
}

/// Builds the crate without the flags of this repository, with warnings as errors.
fn build(code: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("user-crate");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let manifest = MANIFEST.replace("REPOSITORY", repository.to_str().expect("UTF-8"));
    fs::write(folder.join("Cargo.toml"), manifest).expect("written");
    fs::write(folder.join("src/main.rs"), code).expect("written");
    // Dependencies have the versions of the repository, so that none has to be fetched.
    fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    cargo.args(["build", "--offline", "--quiet"]).current_dir(&folder);
    cargo.env("RUSTFLAGS", "-D warnings").env("CARGO_TARGET_DIR", folder.join("target"));
    let output = cargo.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("target/debug/user-crate")
}

#[test]
fn readme_s_example_builds_without_warnings_and_the_doctor_sees_tracing_s_level() {
    let app = free_address();
    let held = TcpListener::bind(app).expect("free");
    let door = free_address();
    let also_held = TcpListener::bind(door).expect("free");
    let program = build(&example(app, door));
    drop((held, also_held));
    let mut command = Command::new(program);
    let mut running = Running(command.stdin(Stdio::null()).spawn().expect("it starts"));
    let url = format!("http://{app}/");
    wait("the app answers", || {
        assert_eq!(running.0.try_wait().expect("a child"), None, "it has ended");
        agent().get(&url).call().is_ok()
    });
    let findings = get(&format!("http://{door}/debug/doctor")).json();
    let findings = findings["findings"].as_array().expect("a list");
    let finding = |what: &str| {
        let found = findings.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("{what} is not in {findings:#?}"))
    };
    let tracing = finding("tracing_layer");
    assert_eq!(tracing["state"], "warning", "{tracing}");
    let says = tracing["says"].as_str().expect("text");
    assert!(says.contains("tracing is compiled without anything below INFO"), "{says}");
    let mend = tracing["mend"].as_str().expect("text");
    assert!(mend.contains("release_max_level_.. of tracing"), "{mend}");
    let optimised = finding("optimised");
    assert_eq!(optimised["state"], "warning", "{optimised}");
    assert_eq!(finding("tokio_unstable")["state"], "bad");
}
