//! The document of the API, by validators of others.

use tempfile::TempDir;

use crate::support::{MODEL, Server, mock::Mock, python, thermograph};

const SCHEMATHESIS: &[&str] = &["schemathesis==4.32.5"];

#[test]
fn the_document_is_openapi_and_what_it_describes_is_there() {
    let server = Server::start();
    let validator = ["openapi-spec-validator==0.9.0"];
    python::check(&validator, "openapi_document.py", &[&server.api("")]);
}

#[test]
fn server_answers_as_the_document_says() {
    compare(&["--phases", "examples,coverage,fuzzing", "--max-examples", "40"]);
}

#[test]
#[ignore = "it takes three minutes: `just contract` runs it"]
fn server_answers_as_the_document_says_for_three_minutes() {
    compare(&["--max-time", "180"]);
}

/// Sends requests that the document allows and requests that it does not, and compares the answers
/// with it.
fn compare(arguments: &[&str]) {
    let (mock, folder) = (Mock::start(&[]), tempfile::tempdir().expect("a folder"));
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let toml = format!(
        r#"
            [models.{MODEL}]
            dir = "models/{MODEL}"
            accept_token_ids = true

            [store]
            url = "{store}"
            spool = "{}"

            [upstreams.a]
            url = "http://{}"
        "#,
        folder.path().join("spool").display(),
        mock.address
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let key = key(&store, &folder);
    let mut run = python::program(SCHEMATHESIS, "schemathesis");
    run.current_dir(&folder).env("SCHEMATHESIS_HOOKS", "openapi_hooks");
    run.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"));
    run.args(["run", &server.api("/openapi.json"), "--checks", "all", "--seed", "1"]);
    run.args(["--continue-on-failure", "--no-shrink", "--header"]);
    let output = run.arg(format!("Authorization: Bearer {key}")).args(arguments).output();
    let output = output.expect("it runs");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}", said.concat());
}

/// A key that may ask for everything.
fn key(store: &str, folder: &TempDir) -> String {
    let mut keys = thermograph();
    keys.current_dir(folder).env("THERMOGRAPH_STORE_URL", store);
    keys.args(["keys", "create", "--name=test", "--scope=inference", "--scope=usage"]);
    let made = keys.output().expect("it ran");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}
