//! The files of the model, each with the one content it may have.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::checksum;

/// The model, and its folder.
pub(super) const MODEL: &str = "all-MiniLM-L6-v2";

/// Splits text into tokens.
pub(super) const TOKENIZER: Pinned = Pinned {
    name: "tokenizer.json",
    sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
};
/// The weights as they were trained.
pub(super) const WEIGHTS: Pinned = Pinned {
    name: "model.safetensors",
    sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
};
/// The graph, with weights that were rounded to 8 bits and are computed with in f32.
pub(super) const GRAPH: Pinned = Pinned {
    name: "graph.onnx",
    sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
};
/// The graph as the hub has it, with the weights as they were trained: what is left where no
/// Python can make the others.
pub(super) const EXPORTED: Pinned = Pinned {
    name: "onnx/model.onnx",
    sha256: "6fd5d72fe4589f189f8ebc006442dbb529bb7ce38f8082112682524616046452",
};
/// The graph with the weights as they were trained.
pub(super) const F32: Pinned = Pinned {
    name: "model.onnx",
    sha256: "a7750317ef99cb7cb73f36a4e485c5fc12e8f285bf2e6316b6931deffa7e0b2a",
};
/// Graph that multiplies in 8 bits with a scale for each token: what the engine serves by default.
pub(super) const INT8: Pinned = Pinned {
    name: "model.int8.onnx",
    sha256: "222f437772c52f775829ae22de4bd709d5a600913324b2a9d6eccf926fab6bec",
};

/// A file that may hold one content only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinned {
    /// Its name.
    pub(super) name: &'static str,
    /// SHA-256 of its content, in lower-case hexadecimal.
    pub(super) sha256: &'static str,
}

/// What the folder of a model holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// [`F32`] and [`INT8`], made here.
    Quantized,
    /// A graph that computes in f32, where [`INT8`] could not be made: [`F32`], or [`GRAPH`] or
    /// [`EXPORTED`] under its name.
    Unquantized,
}

/// What is in the model's folder; none where a file is missing or is not what it should be.
pub(super) fn find(folder: &Path) -> anyhow::Result<Option<Content>> {
    if !TOKENIZER.is_in(folder)? {
        return Ok(None);
    }
    if INT8.is_in(folder)? && F32.is_in(folder)? {
        return Ok(Some(Content::Quantized));
    }
    if INT8.path(folder).exists() {
        return Ok(None);
    }
    for graph in [F32, GRAPH, EXPORTED] {
        if (Pinned { name: F32.name, ..graph }).is_in(folder)? {
            return Ok(Some(Content::Unquantized));
        }
    }
    Ok(None)
}

impl Pinned {
    /// Where it is in a folder.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.name)
    }

    /// Whether a folder has it, with the right content.
    pub(super) fn is_in(&self, folder: &Path) -> anyhow::Result<bool> {
        checksum::matches(&self.path(folder), self.sha256)
    }

    /// Gives it another name in the same folder.
    pub(super) fn rename(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        rename(&self.path(folder), &folder.join(name))
    }

    /// Moves it from one folder to another, unless it is there already.
    pub(super) fn install(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        if self.is_in(to)? {
            return Ok(());
        }
        rename(&self.path(from), &self.path(to))
    }

    /// Takes whatever has its name out of a folder.
    pub(super) fn remove(&self, folder: &Path) -> anyhow::Result<()> {
        let path = self.path(folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quantized => "int8 and f32",
            Self::Unquantized => "f32 only; remove it and pull again to try for int8",
        })
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_wrong_file_is_no_model() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        for file in [TOKENIZER, F32, INT8] {
            fs::write(file.path(folder.path()), "something else")?;
        }
        assert_eq!(find(folder.path())?, None);
        Ok(())
    }

    #[test]
    fn what_is_not_there_can_be_removed() -> anyhow::Result<()> {
        INT8.remove(tempfile::tempdir()?.path())
    }
}
