//! Files and folders that the configuration names.

use std::process::Output;

use super::{run, text};
use crate::support::thermograph;

#[test]
fn check_refuses_files_and_folders_that_do_not_exist() {
    for (file, said) in [
        ("[store]\nurl = \"sqlite:/nope/x.db\"\n", ["store.url", "`/nope` is not a folder"]),
        ("[store]\nurl = \"sqlite:///nope/x.db\"\n", ["store.url", "/nope/x.db"]),
        ("[api]\nlisten = \"unix:/nope/x.sock\"\n", ["unix:/nope/x.sock", "folder that exists"]),
        ("[models.z]\ndir = \"/nope\"\n", ["models.z.dir = \"/nope\"", "`tokenizer.json` and "]),
        ("[models.z]\ndir = \"/nope\"\nfile = \"a.onnx\"\n", ["models.z.dir", "and `a.onnx`"]),
    ] {
        let refused = run(&["serve", "--check"], &[], file);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{file}");
        assert!(said.iter().all(|said| error.contains(said)), "{said:?}: {error}");
    }
    for url in ["x.db", "/tmp/x.db", "/tmp/in-memory.db"] {
        let file = &format!("[store]\nurl = \"sqlite:{url}\"\n");
        let checked = run(&["serve", "--check"], &[], file);
        assert!(checked.status.success(), "{file}: {}", text(&checked.stderr));
    }
}

/// Starts a server where no model is, which ends since it cannot write its addresses.
fn start(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = thermograph();
    command.current_dir(folder.path()).arg("serve").args(args);
    for flag in ["--listen", "--diagnostics-listen", "--console-listen"] {
        command.arg(format!("{flag}=127.0.0.1:0"));
    }
    command.arg("--addresses-file=/no/such/folder/file").output().expect("ran")
}

#[test]
fn default_model_is_an_error_only_if_nothing_else_has_models() {
    for (args, level) in [(&[][..], "ERROR"), (&["--upstream=http://127.0.0.1:1"], "INFO")] {
        let log = text(&start(args).stderr);
        let line = log.lines().find(|line| line.contains("thermograph model pull"));
        let line = line.unwrap_or_else(|| panic!("no advice: {log}"));
        assert!(line.contains(&format!("\"level\":\"{level}\"")), "{line}");
        assert!(line.contains("`tokenizer.json` and `model.int8.onnx`"), "{line}");
    }
}
