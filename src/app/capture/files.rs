//! Where captures are kept: `profiles/` and `flamegraphs/` in this folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// One capture in every form.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Gzipped `profile.proto`.
    pub(crate) pprof: Vec<u8>,
    pub(crate) folded: String,
    pub(crate) svg: Vec<u8>,
}

impl Files {
    /// Whether there is no stack in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }

    /// Writes every form, in place of one of the same name; the last path is the picture.
    pub(crate) fn write(&self, name: &str) -> anyhow::Result<Vec<PathBuf>> {
        let forms: [(String, &[u8]); 3] = [
            (format!("profiles/{name}.pb.gz"), &self.pprof),
            (format!("profiles/{name}.folded"), self.folded.as_bytes()),
            (format!("flamegraphs/{name}.svg"), &self.svg),
        ];
        let write = |(path, bytes): (String, &[u8])| {
            let path = PathBuf::from(path);
            write(&path, bytes)?;
            Ok(path)
        };
        forms.into_iter().map(write).collect()
    }
}

/// Writes a file, and makes its folder where there is none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(path, bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}
