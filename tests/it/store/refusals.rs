//! Who has no key, where one is needed.

use std::collections::BTreeSet;

use serde_json::json;

use super::support::{Mock, Server, Store};
use crate::support::{agent, answer, thermograph};

#[test]
fn every_route_under_v1_wants_a_key() {
    let (store, mock) = (Store::sqlite(), Mock::start(&[]));
    let server = store.gateway(&mock, "require_keys = true");
    let mut asked = BTreeSet::new();
    for (path, method) in routes(&server) {
        let url = server.api(&path.replace("{id}", "mock"));
        for key in [None, Some("tg-short"), Some("sk-somebody-else-s")] {
            let key = key.map(|key| format!("Bearer {key}")).unwrap_or_default();
            let answered = if method == "get" {
                agent().get(&url).header("authorization", key).call()
            } else {
                let request = agent().post(&url).content_type("application/json");
                request.header("authorization", key).send("{}")
            };
            let refused = answer(answered.expect("an answer"));
            assert_eq!(
                (refused.status, &refused.error()["code"]),
                (401, &json!("invalid_api_key"))
            );
            assert_eq!(refused.header("x-should-retry"), "false", "{path}");
        }
        asked.insert(path);
    }
    assert!(asked.len() >= 17, "{asked:?}");
    assert_eq!(store.rows(), 0, "who is not known has no row");
}

/// Paths of the API as it describes them, and how they are asked; all but those about itself.
fn routes(server: &Server) -> Vec<(String, String)> {
    let described = crate::support::get(&server.api("/openapi.json")).json();
    let paths = described["paths"].as_object().expect("paths").iter();
    let routes = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(move |method| (path.clone(), method.clone()))
    });
    routes.filter(|(path, _)| !path.starts_with("/health/") && path != "/openapi.json").collect()
}

#[test]
fn without_a_store_it_is_said_how_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = thermograph();
    let refused = command.current_dir(folder.path()).args(["keys", "list"]).output().expect("ran");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("there is no store") && said.contains("THERMOGRAPH_STORE_URL"), "{said}");
}

#[test]
fn a_key_that_is_not_there_cannot_be_ended() {
    let store = Store::sqlite();
    for arguments in [["revoke", "key_0"], ["rotate", "key_0"]] {
        let refused = store.keys(&arguments);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said.contains("there is no key `key_0`"), "{said}");
    }
}

#[test]
fn a_database_that_is_not_there_stops_the_start_and_its_password_is_not_shown() {
    let mut command = thermograph();
    let url = "postgres://user:planted-password-7c1d@127.0.0.1:1/nothing";
    command.args(["serve", "--listen=127.0.0.1:0", "--diagnostics-listen=127.0.0.1:0"]);
    command.args(["--console-listen=127.0.0.1:0"]);
    command.env("THERMOGRAPH_STORE_URL", url).env("THERMOGRAPH_STORE_START_TIMEOUT", "600ms");
    let refused = command.output().expect("ran");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("store.url: the database at 127.0.0.1:1 cannot be opened"), "{said}");
    assert!(!said.contains("planted-password"), "{said}");
}
