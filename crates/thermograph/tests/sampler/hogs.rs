//! Processes that eat processors.

use std::process::{Child, Command, Stdio};

/// Some of them, until dropped.
pub(crate) struct Hogs(Vec<Child>);

impl Hogs {
    pub(crate) fn start(count: usize) -> Self {
        let hog = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().expect("sh runs")
        };
        Self((0..count).map(|_| hog()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            // It does not end by itself.
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}
