//! `LiteLLM`'s proxy, which most people know: in Python.

use std::{fs, net::SocketAddr, thread};

use super::{chat, program::Program};
use crate::{
    process::{follower, free_address},
    venv,
};

pub(crate) const VERSION: &str = "1.108.7";

/// What it does of its own accord is left out: asking the network for prices, insisting on a key.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
    ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true"),
    ("LITELLM_LOG", "ERROR"),
];

/// With a worker for each core.
pub(crate) fn start(upstream: SocketAddr) -> anyhow::Result<Program> {
    let programs = venv::programs("bench-litellm", &format!("litellm[proxy]=={VERSION}"))?;
    let (dir, address) = (tempfile::tempdir()?, free_address()?);
    let config = dir.path().join("config.yaml");
    fs::write(&config, configuration(upstream))?;
    let workers = thread::available_parallelism()?.to_string();
    let mut command = follower(programs.join("litellm"))?;
    command.envs(ENVIRONMENT).arg("--config").arg(config);
    for (flag, value) in [
        ("--host", address.ip().to_string()),
        ("--port", address.port().to_string()),
        ("--num_workers", workers),
        ("--telemetry", "False".to_owned()),
        // Its supervisor ends workers that take longer to start, over and over: 5 s, if not told.
        ("--timeout_worker_healthcheck", "120".to_owned()),
    ] {
        command.args([flag, &value]);
    }
    Program::start(dir, address, &mut command)
}

fn configuration(upstream: SocketAddr) -> String {
    let model = chat::MODEL;
    format!(
        "model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://{upstream}/v1
      api_key: none
"
    )
}
