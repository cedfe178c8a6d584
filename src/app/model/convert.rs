//! From the published weights and graph to the two graphs that the engine reads.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::{
    checksum,
    files::{F32, GRAPH, INT8, WEIGHTS},
    progress::Step,
    python,
};

const SCRIPT: &str = include_str!("convert.py");

/// Exact versions of whatever has a say in the bytes: with others the sums would differ.
const REQUIREMENTS: [&str; 6] = [
    "ml_dtypes==0.6.0",
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "protobuf==7.36.2",
    "safetensors==0.8.0",
];

/// Makes [`F32`] and [`INT8`] out of [`GRAPH`] and [`WEIGHTS`], all in the same folder.
pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    // In the folder, not in /tmp: its files are to be renamed, and may be larger than a tmpfs.
    let temporary = tempfile::tempdir_in(folder).context("cannot create a temporary folder")?;
    let temporary = temporary.path();
    let packages = temporary.join("packages");

    let step = Step::start("installing the converter".to_owned());
    // `--target` instead of a virtual environment: as separate, but it also works where the module
    // `venv` is a package of its own that nobody installed, as on Debian.
    let mut pip = python::pip("install")?;
    python::run(pip.args(["--no-compile", "--target"]).arg(&packages).args(REQUIREMENTS))?;
    step.done();

    let step = Step::start("converting the model".to_owned());
    let script = temporary.join("convert.py");
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let mut python = python::interpreter()?;
    python.arg(&script).args([&GRAPH.path(folder), &WEIGHTS.path(folder)]).arg(temporary);
    python::run(python.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    for file in [F32, INT8] {
        checksum::check(&file.path(temporary), file.sha256)?;
        file.install(temporary, folder)?;
    }
    step.done();
    Ok(())
}
