//! Python's packages, each set in a virtual environment of its own under `target/`, made once.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// The folder of the programs of a virtual environment with these packages: a requirement a line.
pub(crate) fn programs(name: &str, pins: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    let programs = folder.join("bin");
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == pins) {
        return Ok(programs);
    }
    eprintln!("installing Python's packages into {}", folder.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let wheels = ["--only-binary", ":all:"];
    run(Command::new(programs.join("python")).args(pip).args(wheels).args(pins.lines()))?;
    std::fs::write(complete, pins)?;
    Ok(programs)
}

/// Runs a step of an installation; what it complains of is in the error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let run = command.stdin(Stdio::null()).output();
    let run = run.with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{command:?} failed: {}", said.trim());
    Ok(())
}
