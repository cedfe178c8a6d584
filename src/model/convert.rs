//! From the published weights and graph to the two graphs that the engine reads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{
    checksum,
    files::{F32, GRAPH, INT8, Pinned, WEIGHTS},
    progress::Step,
    python,
};

const SCRIPT: &str = include_str!("convert.py");

/// Exact versions of whatever has a say in the bytes: with others the sums would differ.
const REQUIREMENTS: [&str; 5] =
    ["ml_dtypes==0.6.0", "numpy==2.4.6", "onnx==1.23.2", "protobuf==7.36.2", "safetensors==0.8.0"];

/// Makes [`F32`] and [`INT8`] out of [`GRAPH`] and [`WEIGHTS`], all in the same folder.
pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    let converter = Converter::install(folder)?;
    let step = Step::start("converting the model".to_owned());
    converter.make(F32, "restore", &[GRAPH.path(folder), WEIGHTS.path(folder)], folder)?;
    converter.make(INT8, "quantize", &[F32.path(folder)], folder)?;
    step.done();
    Ok(())
}

/// Makes [`INT8`] in the folder `work` out of [`F32`] in another.
pub(super) fn quantize(folder: &Path, work: &Path) -> anyhow::Result<()> {
    let converter = Converter::install(work)?;
    let step = Step::start("converting the model".to_owned());
    converter.make(INT8, "quantize", &[F32.path(folder)], work)?;
    step.done();
    Ok(())
}

/// The script with the packages that it needs, in a folder that goes with it.
struct Converter {
    folder: TempDir,
}

impl Converter {
    /// Installs it in a folder of its own inside of `folder`.
    fn install(folder: &Path) -> anyhow::Result<Self> {
        // There, not in /tmp: its files are to be renamed, and may be larger than a tmpfs.
        let folder = tempfile::tempdir_in(folder).context("cannot create a temporary folder")?;
        let converter = Self { folder };
        let step = Step::start("installing the converter".to_owned());
        // `--target` instead of a virtual environment: as separate, but it also works where the
        // module `venv` is a package of its own that nobody installed, as on Debian.
        let mut pip = python::pip("install")?;
        pip.args(["--no-compile", "--target"]).arg(converter.packages()).args(REQUIREMENTS);
        python::run(&mut pip)?;
        let script = converter.script();
        fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
        step.done();
        Ok(converter)
    }

    /// Makes `file` in `folder` with a command of the script.
    fn make(
        &self,
        file: Pinned,
        command: &str,
        sources: &[PathBuf],
        folder: &Path,
    ) -> anyhow::Result<()> {
        let made = self.folder.path();
        let mut python = python::interpreter()?;
        python.arg(self.script()).arg(command).args(sources).arg(file.path(made));
        python.env("PYTHONPATH", self.packages()).env("PYTHONDONTWRITEBYTECODE", "1");
        python::run(&mut python)?;
        checksum::check(&file.path(made), file.sha256)?;
        file.install(made, folder)
    }

    fn packages(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    fn script(&self) -> PathBuf {
        self.folder.path().join("convert.py")
    }
}
