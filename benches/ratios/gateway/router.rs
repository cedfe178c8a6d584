//! Gateways of others that Python's package index has: programs in Rust with a launcher in Python.

use std::net::SocketAddr;

use super::program::Program;
use crate::{
    process::{follower, free_address},
    venv,
};

/// A package, and how its program is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Router {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    arguments: &'static [&'static str],
}

/// The policy that costs least, and no more than warnings in the log.
pub(crate) const SMG: Router = Router {
    name: "smg",
    version: "1.13.0",
    arguments: &["launch", "--policy", "round_robin", "--log-level", "warn"],
};
pub(crate) const VLLM_ROUTER: Router = Router {
    name: "vllm-router",
    version: "0.1.17",
    arguments: &["--policy", "round_robin", "--log-level", "warning"],
};

impl Router {
    pub(crate) fn start(self, upstream: SocketAddr) -> anyhow::Result<Program> {
        let Self { name, version, arguments } = self;
        let programs = venv::programs(&format!("bench-{name}"), &format!("{name}=={version}"))?;
        let (dir, address, metrics) = (tempfile::tempdir()?, free_address()?, free_address()?);
        let mut command = follower(programs.join(name))?;
        command.args(arguments);
        for (flag, value) in [
            ("--host", address.ip().to_string()),
            ("--port", address.port().to_string()),
            ("--prometheus-host", metrics.ip().to_string()),
            ("--prometheus-port", metrics.port().to_string()),
            ("--worker-urls", format!("http://{upstream}")),
        ] {
            command.args([flag, &value]);
        }
        Program::start(dir, address, &mut command)
    }
}
