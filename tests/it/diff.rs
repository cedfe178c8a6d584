//! What changed between two captures, from files alone.

use std::process::Output;

use tempfile::TempDir;

use crate::support::thermograph;

/// `thermograph diff` in a folder of its own.
fn diff(folder: &TempDir, args: &[&str]) -> Output {
    thermograph().current_dir(folder).arg("diff").args(args).output().expect("it runs")
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let captures = [
        ("slow.folded", "worker;app::main;app::parse 30\nworker;app::main;app::sort 10\n"),
        ("fast.folded", "worker;app::main;app::parse 10\nworker;app::main;app::sort 10\n"),
        ("empty.folded", ""),
    ];
    for (name, stacks) in captures {
        std::fs::write(folder.path().join(name), stacks).expect("written");
    }
    folder
}

#[test]
fn a_picture_tells_what_grew_from_what_shrank() {
    let folder = folder();
    let picture = |args: &[&str]| {
        let Output { status, stdout, stderr } = diff(&folder, args);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let path = String::from_utf8(stdout).expect("a path");
        let svg = std::fs::read_to_string(folder.path().join(path.trim_end())).expect("a picture");
        (path, svg)
    };
    let (path, svg) = picture(&["slow.folded", "fast.folded"]);
    assert!(
        path.starts_with("flamegraphs/2") && path.ends_with("Z-diff-slow-fast.svg\n"),
        "{path}"
    );
    assert!(svg.contains("slow → fast"), "{svg}");
    assert!(svg.contains("<title>app::parse (10 units, 50.00%; -25.00%)"), "{svg}");
    assert!(svg.contains("<title>app::sort (10 units, 50.00%; +25.00%)"), "{svg}");

    let (path, svg) = picture(&["fast.folded", "slow.folded", "--output", "back.svg"]);
    assert_eq!(path, "back.svg\n");
    assert!(svg.contains("<title>app::parse (30 units, 75.00%; +25.00%)"), "{svg}");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let folder = folder();
    for (after, why) in [("absent.pb.gz", "No such file"), ("empty.folded", "nothing was captured")]
    {
        let Output { status, stderr, .. } = diff(&folder, &["slow.folded", after]);
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!status.success());
        assert!(stderr.contains(after) && stderr.contains(why), "{stderr}");
    }
    assert!(!folder.path().join("flamegraphs").exists(), "a picture of nothing");
}
