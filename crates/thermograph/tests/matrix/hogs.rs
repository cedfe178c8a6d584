//! Processes that take all the time of a processor that they are given.

use std::{
    os::unix::process::parent_id,
    process::{Child, Command, Stdio},
};

use crate::specimens::hash;

/// Some of them, until dropped.
pub(crate) struct Hogs(Vec<Child>);

impl Hogs {
    pub(crate) fn start(count: usize) -> Self {
        let start = |_| {
            let mut hog = Command::new(std::env::current_exe().expect("a program"));
            let this = std::process::id().to_string();
            hog.args(["--hog", &this]).stdin(Stdio::null()).stdout(Stdio::null());
            hog.spawn().expect("it starts")
        };
        Self((0..count).map(start).collect())
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

/// Is one, as long as its parent lives.
pub(crate) fn be_one(parent: u32) {
    while parent_id() == parent {
        for _ in 0..1000 {
            hash();
        }
    }
}
