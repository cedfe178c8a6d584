//! `thermograph mock`: the upstream that all of them ask, and whoever asks directly.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{chat, traffic::Traffic};
use crate::process::{Process, follower};

pub(crate) struct Mock {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    _dir: TempDir,
}

/// An answer that is no stream: its tokens, and the bytes of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
}

/// An answer that is no stream: bytes of its body.
const ANSWER: usize = 2048;

impl Mock {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let [addresses, log] = ["addresses.json", "log"].map(|name| dir.path().join(name));
        let mut command = follower(env!("CARGO_BIN_EXE_thermograph"))?;
        command
            .args(["mock", "--listen", "127.0.0.1:0", "--models", chat::MODEL])
            .arg("--addresses-file")
            .arg(&addresses)
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let mut process = Process::start(&mut command)?;
        let file = process.wait("the mock listens", || fs::read(&addresses).ok());
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let file = file.with_context(|| format!("the mock said: {}", said()))?;
        let addresses: Value = serde_json::from_slice(&file)?;
        let address = addresses["api"].as_str().context("the mock has no address")?.parse()?;
        Ok(Self { process, address, _dir: dir })
    }

    /// Changes what it does.
    pub(crate) fn behave(&self, traffic: &Traffic, behaviour: &Value) -> anyhow::Result<()> {
        let body = behaviour.to_string();
        let length = body.len();
        let head = "PATCH /mock HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
        let request = Bytes::from(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"));
        traffic.ask(self.address, &request).with_context(|| format!("the mock refuses {body}"))?;
        Ok(())
    }

    /// How many tokens make an answer that is no stream as long as it is meant to be.
    pub(crate) fn fit(&self, traffic: &Traffic) -> anyhow::Result<Fit> {
        let fit = |tokens: usize| {
            self.behave(traffic, &json!({ "tokens": tokens }))?;
            let bytes = traffic.ask(self.address, &chat::request(false))?.len();
            anyhow::Ok(Fit { tokens, bytes })
        };
        let (short, long) = (fit(100)?.bytes, fit(200)?.bytes);
        ensure!(long > short && short < ANSWER, "the mock's answers do not grow with their tokens");
        let fitting = fit(100 + (ANSWER - short) * 100 / (long - short))?;
        ensure!(fitting.bytes.abs_diff(ANSWER) < ANSWER / 10, "answers of {} bytes", fitting.bytes);
        Ok(fitting)
    }
}
