//! Secrets in files, as Docker and Kubernetes mount them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use axum::response::Response;
use serde_json::json;
use tempfile::TempDir;

use super::{run, text};
use crate::{
    scripted::Scripted,
    support::{Server, get, post, thermograph, wait},
};

const TOKEN: &str = "0123456789abcdef";

fn folder(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    fs::write(&file, content).expect("written");
    (folder, file)
}

#[test]
fn each_secret_is_read_from_a_file_and_only_its_path_is_printed() {
    let cases = [
        ("[diagnostics]\nlisten = \"0.0.0.0:6060\"\n", "diagnostics.token", TOKEN),
        ("[store]\nrequire_keys = true\n", "store.url", "postgres://me:hunter2@a/b"),
        ("[redis]\n", "redis.url", "redis://me:hunter2@a:1/2"),
        ("[upstreams.a]\nurl = \"http://a\"\n", "upstreams.a.key", "hunter2"),
    ];
    for (file, path, secret) in cases {
        let (_folder, held) = folder("secret", format!("{secret}\n"));
        let held = held.to_str().expect("UTF-8");
        let (_, key) = path.rsplit_once('.').expect("a key");
        let in_file = format!("{file}{key}_file = \"{held}\"\n");
        let variable = format!("THERMOGRAPH_{}_FILE", path.replace('.', "_").to_uppercase());
        let mut given = vec![(in_file, vec![])];
        if !path.starts_with("upstreams") {
            given.push((file.to_owned(), vec![(&*variable, held)]));
        }
        for (file, variables) in given {
            let checked = run(&["serve", "--check"], &variables, &file);
            assert!(checked.status.success(), "{path}: {}", text(&checked.stderr));
            let printed = run(&["config"], &variables, &file);
            let printed = text(&printed.stdout);
            assert!(printed.contains(held) && !printed.contains(secret), "{printed}");
            let again = run(&["serve", "--check"], &[], &printed);
            assert!(again.status.success(), "{}", text(&again.stderr));
        }
    }
}

#[test]
fn file_without_a_secret_is_refused_by_key_path_and_reason() {
    let too_large = "a".repeat((64 << 10) + 1);
    let bad: [(&[u8], &str); 7] = [
        (b" \n", "(only blanks)"),
        (b"\xef\xbb\xbfhunter2\n", "(begins with a byte order mark)"),
        (b"", "(empty)"),
        (b"\n", "(empty)"),
        (b"\xff\xfe", "(not UTF-8)"),
        (b"(set)", "a file that holds "),
        (too_large.as_bytes(), "(larger)"),
    ];
    let secrets = [
        ("[diagnostics]\n", "diagnostics.token"),
        ("[store]\n", "store.url"),
        ("[redis]\n", "redis.url"),
        ("[upstreams.a]\nurl = \"http://a\"\n", "upstreams.a.key"),
    ];
    for (table, path) in secrets {
        let (_, key) = path.rsplit_once('.').expect("a key");
        for (content, why) in bad {
            let (_folder, held) = folder("secret", content);
            let refused =
                run(&["serve", "--check"], &[], &format!("{table}{key}_file = {held:?}\n"));
            let error = text(&refused.stderr);
            let said = format!("{path}_file = {held:?} (from ");
            assert!(error.contains(&said) && error.contains(why), "{said}, {why}: {error}");
        }
        let (_folder, held) = folder("secret", "hunter2");
        let both = format!("{table}{key} = \"other\"\n{key}_file = {held:?}\n");
        let error = text(&run(&["serve", "--check"], &[], &both).stderr);
        assert!(
            error.contains(&format!("{path}_file")) && error.contains("only one of"),
            "{error}"
        );
    }
    let (_folder, held) = folder("secret", "hunter\u{e9}");
    let file = format!("[upstreams.a]\nurl = \"http://a\"\nkey_file = {held:?}\n");
    let error = text(&run(&["serve", "--check"], &[], &file).stderr);
    assert!(error.contains("(has characters that are not visible ASCII)"), "{error}");
    let (_folder, held) = folder("secret", "sqlite:a.db");
    let variables = [("THERMOGRAPH_STORE_URL_FILE", held.to_str().expect("UTF-8"))];
    let error = text(&run(&["config"], &variables, "[store]\nurl = \"sqlite:b.db\"\n").stderr);
    assert!(error.contains("(from $THERMOGRAPH_STORE_URL_FILE)"), "{error}");
}

#[test]
fn token_of_the_diagnostics_is_read_by_server_and_client() {
    let (_folder, held) = folder("token", format!("{TOKEN}\n"));
    let held = held.to_str().expect("UTF-8");
    let server = Server::with(&[("THERMOGRAPH_DIAGNOSTICS_TOKEN_FILE", held)]);
    let url = server.diagnostics("");
    assert_eq!(get(&server.diagnostics("/debug/handlers")).status, 401);
    let handlers = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = thermograph();
        command.args(["handlers", "--url", &url]).args(args).envs(variables.iter().copied());
        command.output().expect("ran")
    };
    for answered in [
        handlers(&["--token-file", held], &[]),
        handlers(&[], &[("THERMOGRAPH_DIAGNOSTICS_TOKEN_FILE", held)]),
        handlers(&["--token", TOKEN], &[]),
    ] {
        assert!(answered.status.success(), "{}", text(&answered.stderr));
    }
    let error = text(&handlers(&["--token-file", "/no/such/file"], &[]).stderr);
    assert!(error.contains("--token-file") && error.contains("No such file"), "{error}");
    let error = text(&handlers(&["--token-file", held, "--token=a"], &[]).stderr);
    assert!(error.contains("cannot be used with"), "{error}");
}

/// Answers with the key that it was asked with.
fn upstream() -> Scripted {
    Scripted::answering(|head, _| {
        let key = head.headers.get("authorization").map_or("", |key| key.to_str().expect("text"));
        let answer = json!({ "object": "chat.completion", "choices": [], "key": key });
        let response = Response::builder().header("content-type", "application/json");
        response.body(answer.to_string().into()).expect("a response")
    })
}

/// Turns the link `..data` to another folder, as the kubelet does.
fn turn(volume: &Path, version: &str, secret: &str) {
    let folder = volume.join(version);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("key"), secret).expect("written");
    let new = volume.join("..data_tmp");
    std::os::unix::fs::symlink(version, &new).expect("a link");
    fs::rename(new, volume.join("..data")).expect("renamed");
}

#[test]
fn key_of_an_upstream_changes_with_its_file() {
    let volume = tempfile::tempdir().expect("a folder");
    let key = volume.path().join("key");
    turn(volume.path(), "..1", "first\n");
    std::os::unix::fs::symlink(Path::new("..data").join("key"), &key).expect("a link");
    let upstream = upstream();
    let toml = format!(
        "[upstreams.a]\nurl = \"http://{}\"\nkey_file = {key:?}\n[models.m]\nupstreams = [\"a\"]\n",
        upstream.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let ask = || post(&server.api("/v1/chat/completions"), "{\"model\": \"m\", \"messages\": []}");
    assert_eq!(ask().json()["key"], "Bearer first");
    turn(volume.path(), "..2", "second\n");
    wait("the second key is sent", || ask().json()["key"] == "Bearer second");
    let refused = "thermograph_config_reloads_total{result=\"refused\"}";
    turn(volume.path(), "..3", "");
    wait("an empty file is refused", || server.metric(refused) == 1);
    assert_eq!(ask().json()["key"], "Bearer second");
    turn(volume.path(), "..4", "fourth");
    wait("the fourth key is sent", || ask().json()["key"] == "Bearer fourth");
    let log = server.log();
    assert!(log.contains("\"keys\":\"upstreams.a.key_file\""), "{log}");
    assert!(log.contains("upstreams.a.key_file") && log.contains("(empty)"), "{log}");
    for secret in ["first", "second", "fourth"] {
        assert!(!log.contains(&format!("{secret}\"")), "{log}");
    }
}
