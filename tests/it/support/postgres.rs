//! A Postgres of our own, on a port and in a folder of its own.

use std::{
    fs::{self, File},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tempfile::TempDir;

use super::{database, ended, free_address, send, wait};

/// The password of its user: a word that must not be seen anywhere.
pub(crate) const PASSWORD: &str = "planted-password-7c1d";
/// The user and the group that it runs as where the tests are root, whom it refuses.
pub(super) const NOBODY: u32 = 65_534;
/// Ports to try: it cannot be told to take any that is free.
const TRIES: usize = 5;

/// A running Postgres; killed when dropped.
pub(crate) struct Postgres {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("written");
        if geteuid().is_root() {
            for path in [folder.path(), &password] {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
        }
        let made = command("initdb", folder.path())
            .args(["--username=thermograph", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pwfile=password", "data"])
            .status();
        assert!(made.expect("it runs").success(), "initdb: {}", log(folder.path()));
        for _ in 0..TRIES {
            let port = free_address().port();
            if let Some(child) = run(folder.path(), port) {
                return Self { child, folder, port };
            }
        }
        panic!("Postgres does not start: {}", log(folder.path()));
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it and all that belongs to it without a word, as a machine that fails does.
    pub(crate) fn kill9(&mut self) {
        // It leads a group of its own.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.wait().expect("a status");
    }

    /// Ends it in good order, whoever is connected.
    pub(crate) fn stop(&mut self) {
        send(&self.child, Signal::INT);
        ended(&mut self.child);
    }

    /// Starts it again where it was, with what it has written.
    pub(crate) fn restart(&mut self) {
        let restarted = run(self.folder.path(), self.port);
        self.child = restarted.unwrap_or_else(|| panic!("{}", log(self.folder.path())));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("log of Postgres:\n{}", log(self.folder.path()));
        }
    }
}

fn url(port: u16) -> String {
    format!("postgres://thermograph:{PASSWORD}@127.0.0.1:{port}/postgres")
}

/// Waits until it answers; none: it has ended.
fn run(folder: &Path, port: u16) -> Option<Child> {
    let mut child = command("postgres", folder)
        .args(["-D", "data", "-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
        .arg(folder)
        .args(["-c", "fsync=on", "-c", "jit=off"])
        .spawn()
        .expect("it starts");
    let mut has_ended = false;
    wait("Postgres answers", || {
        has_ended = child.try_wait().expect("a child").is_some();
        has_ended || database::answers(&url(port))
    });
    (!has_ended).then_some(child)
}

fn command(program: &str, folder: &Path) -> Command {
    let output = File::options().create(true).append(true).open(folder.join("output"));
    let output = output.expect("a file");
    let mut command = Command::new(programs().join(program));
    command.current_dir(folder).process_group(0).stdin(Stdio::null());
    command.stdout(output.try_clone().expect("a file")).stderr(output);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The folder of its programs: Debian's, or what `just tools` has unpacked of it.
fn programs() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/postgres/usr/lib/postgresql");
    let versions = [own, PathBuf::from("/usr/lib/postgresql")];
    let versions = versions.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut programs = versions.map(|version| version.expect("a folder").path().join("bin"));
    let found = programs.find(|folder| folder.join("initdb").is_file());
    found.expect("Postgres is not installed: `./just tools` does it")
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("output")).unwrap_or_default()
}
