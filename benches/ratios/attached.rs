//! A tokio-console that is attached to a server, without the terminal: it costs the server what the
//! real one does.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use thermograph_test_util::console;

/// Longest time that it may take to attach.
const PATIENCE: Duration = Duration::from_mins(1);

/// Attached until the server ends.
#[derive(Debug)]
pub(crate) struct Attached {
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Attached {
    pub(crate) fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let (told, first) = mpsc::channel();
        let thread = thread::Builder::new().name("console".to_owned()).spawn(move || {
            console::attach(address, usize::MAX, |_| {
                // Whoever attached waits for the first only.
                let _ = told.send(());
                false
            })
        })?;
        first.recv_timeout(PATIENCE).context("it told nothing")?;
        Ok(Self { thread })
    }

    pub(crate) fn ensure_attached(&self) -> anyhow::Result<()> {
        ensure!(!self.thread.is_finished(), "the console is not attached any more");
        Ok(())
    }
}
