//! The clinic: an app with ill handlers and healthy ones.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use tempfile::TempDir;
use thermograph_server::serve::Addresses;

use crate::support::{get, wait};

/// The clinic, until dropped.
pub(crate) struct Clinic {
    child: Child,
    /// Where it is, and saves what is captured.
    pub(crate) folder: TempDir,
    pub(crate) addresses: Addresses,
}

/// Ends the load however its scope is left.
struct Stop<'a>(&'a AtomicBool);

impl Clinic {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("addresses.json");
        let binary = Path::new(env!("CARGO_BIN_EXE_thermograph"));
        let any = "127.0.0.1:0";
        let child = Command::new(binary.with_file_name("examples").join("clinic"))
            .args(["--listen", any, "--diagnostics-listen", any, "--console-listen", any])
            .arg("--addresses-file")
            .arg(&file)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        wait("the clinic is open", || file.exists());
        let addresses = std::fs::read(&file).expect("a file");
        let addresses = serde_json::from_slice(&addresses).expect("addresses");
        Self { child, folder, addresses }
    }

    pub(crate) fn visit(&self, path: &str) {
        assert_eq!(get(&format!("http://{}{path}", self.addresses.api)).status, 200, "{path}");
    }

    pub(crate) fn diagnostics(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.diagnostics)
    }

    /// Visits each of `paths` once, and then again and again, on a thread of its own, while
    /// `during` runs.
    pub(crate) fn under_load<T>(&self, paths: &[&str], during: impl FnOnce() -> T) -> T {
        for path in paths {
            self.visit(path);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for path in paths {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Relaxed) {
                        self.visit(path);
                    }
                });
            }
            let stopping = Stop(&stop);
            let result = during();
            drop(stopping);
            result
        })
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Drop for Clinic {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
