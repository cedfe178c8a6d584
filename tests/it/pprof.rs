//! `/debug/pprof/profile` as Go's own tool reads it.

use std::process::Command;

use crate::support::{Server, get_bytes, tool, under_load};

#[test]
fn go_tool_pprof_names_the_model_s_kernels_on_top() {
    let server = Server::start();
    let url = server.diagnostics("/debug/pprof/profile?seconds=5");
    let profile = under_load(&server, || get_bytes(&url));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), profile).expect("written");

    let top = Command::new(tool("go"))
        .args(["tool", "pprof", "-top", "-nodecount=25"])
        .arg(file.path())
        .output()
        .expect("go runs");
    let text = String::from_utf8_lossy(&top.stdout);
    assert!(top.status.success(), "{}", String::from_utf8_lossy(&top.stderr));
    assert!(text.contains("Type: cpu"), "{text}");
    // flat flat% sum% cum cum% name
    let mut rows = text.lines().skip_while(|line| !line.contains("flat%")).skip(1);
    let kernels = rows.clone().filter(|row| row.contains("rten")).count();
    assert!(rows.next().is_some_and(|row| row.contains("rten")), "{text}");
    assert!(kernels >= 3, "{text}");
}

#[test]
fn go_tool_pprof_fetches_by_itself() {
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a folder");
    let raw = under_load(&server, || {
        Command::new(tool("go"))
            .args(["tool", "pprof", "-raw", "-seconds=2"])
            .arg(server.diagnostics("/debug/pprof/profile"))
            .env("PPROF_TMPDIR", dir.path())
            .output()
            .expect("go runs")
    });
    let text = String::from_utf8_lossy(&raw.stdout);
    assert!(raw.status.success(), "{}", String::from_utf8_lossy(&raw.stderr));
    assert!(text.contains("samples/count cpu/nanoseconds"), "{text}");
    assert!(text.contains("Duration: 2"), "{text}");
}
