//! A capture that was kept in a file, as a profile of ours.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use thermograph_profile::{Frame, Location, Profile, Sample, captures};

/// A capture with something in it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The file's name without its ending.
    pub(crate) name: String,
    pub(crate) profile: Profile,
}

impl Kept {
    /// Reads a `.pb.gz` or `.folded` file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (name, profile) = if let Some(name) = name.strip_suffix(".pb.gz") {
            (name, captures::decode(&bytes).map_err(anyhow::Error::from))
        } else if let Some(name) = name.strip_suffix(".folded") {
            (name, unfold(&bytes))
        } else {
            bail!("{shown} is no capture: its name ends neither in .pb.gz nor in .folded");
        };
        let profile = profile.with_context(|| format!("cannot read {shown}"))?;
        ensure!(!profile.is_empty(), "{shown} has no stack in it: nothing was captured");
        Ok(Self { name: name.to_owned(), profile })
    }
}

/// Reads folded stacks; handler and pool of threads, where they are given, are their lowest frames.
pub(crate) fn unfold(bytes: &[u8]) -> anyhow::Result<Profile> {
    let text = str::from_utf8(bytes).context("it is not text")?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let samples = lines.map(|(line, number)| {
        unfold_line(line).with_context(|| format!("line {number} is no folded stack: {line}"))
    });
    Ok(Profile {
        values: Vec::new(),
        samples: samples.collect::<anyhow::Result<_>>()?,
        start: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        period: None,
        dropped: 0,
    })
}

fn unfold_line(line: &str) -> Option<Sample> {
    let (stack, value) = line.trim_end().rsplit_once(' ')?;
    let location = |name| Arc::new(Location::named(Frame::named(name)));
    Some(Sample {
        stack: stack.rsplit(';').map(location).collect(),
        values: vec![value.parse().ok()?],
        labels: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use thermograph_profile::{folded, pprof};

    use super::*;

    const FOLDED: &str = "worker;main;cold 1\nworker;main;hot path 42\n";

    #[test]
    fn both_forms_are_read_and_fold_to_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let pprof = pprof::encode(&unfold(FOLDED.as_bytes()).expect("folded")).expect("encodes");
        for (file, bytes) in [("a.pb.gz", pprof.as_slice()), ("a.folded", FOLDED.as_bytes())] {
            let path = folder.path().join(file);
            fs::write(&path, bytes).expect("written");
            let Kept { name, profile } = Kept::open(&path).expect("a capture");
            assert_eq!((name.as_str(), folded::fold(&profile).as_str()), ("a", FOLDED));
        }
    }

    #[test]
    fn an_error_names_the_file_and_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::write(&path, text).expect("written");
            let error = format!("{:#}", Kept::open(&path).expect_err("an error"));
            assert!(error.contains(&path.display().to_string()), "{error}");
            error
        };
        assert!(error("a.folded", "").contains("nothing was captured"));
        assert!(error("b.folded", "main;idle 0\n").contains("nothing was captured"));
        assert!(error("c.folded", "main 1\nmain;hot many\n").contains("line 2"));
        assert!(error("d.pb.gz", "<html>").contains("not gzipped"));
        assert!(error("e.svg", "<svg/>").contains(".pb.gz"));
    }
}
