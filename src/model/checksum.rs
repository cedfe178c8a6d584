//! SHA-256 of files.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use anyhow::Context as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Whether there is a file at `path`, and it has this sum.
pub(super) fn matches(path: &Path, sha256: &str) -> anyhow::Result<bool> {
    match sum(path) {
        Ok(found) => Ok(found == sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// An error that names both sums where a file does not have the one that is expected.
pub(super) fn check(path: &Path, sha256: &str) -> anyhow::Result<()> {
    let found = sum(path).with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(
        found == sha256,
        "{} is not the file that was published: its SHA-256 is {found}, expected {sha256}",
        path.display()
    );
    Ok(())
}

fn sum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", Bytes::copy_from_slice(&hash.finalize()))),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_has_the_sum_of_its_bytes() -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(b"abc")?;
        assert!(matches(file.path(), ABC)?);
        check(file.path(), ABC)
    }

    #[test]
    fn a_missing_file_matches_nothing() -> anyhow::Result<()> {
        assert!(!matches(Path::new("no such file"), ABC)?);
        Ok(())
    }

    #[test]
    fn the_error_names_the_file_and_both_sums() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let error = check(file.path(), ABC).expect_err("an empty file").to_string();
        for part in [&file.path().display().to_string(), ABC, empty] {
            assert!(error.contains(part), "{error}");
        }
        Ok(())
    }
}
