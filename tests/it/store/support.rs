//! A gateway with a store, and its keys.

use std::{
    path::Path,
    process::{Command, Output},
};

use http::{Request, header};
use serde_json::Value;
use tempfile::TempDir;

pub(super) use crate::support::{Server, database, mock::Mock, postgres::Postgres};
use crate::{
    gateway::support::CHAT,
    support::{Answer, agent, answer, thermograph},
};

/// A database, and a folder for what else there is of it.
pub(crate) struct Store {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
}

impl Store {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        Self { folder, url }
    }

    pub(super) fn postgres(postgres: &Postgres) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), url: postgres.url() }
    }

    /// A gateway before the mock, with this in its `[store]`.
    pub(super) fn gateway(&self, mock: &Mock, store: &str) -> Server {
        let toml = self.toml(mock, store);
        Server::configured("127.0.0.1:0", &toml, &[])
    }

    /// The beginning of a `[store]` in a configuration.
    pub(crate) fn section(&self) -> String {
        format!("[store]\nurl = \"{}\"\nspool = \"{}\"\n", self.url, self.spool().display())
    }

    pub(super) fn toml(&self, mock: &Mock, store: &str) -> String {
        let section = self.section();
        format!(
            "{section}{store}\n\
             [upstreams.a]\nurl = \"http://{}\"\nkey = \"planted-upstream-key-31f0\"\n\
             [models.mock]\nupstreams = [\"a\"]\n[models.other]\nupstreams = [\"a\"]\n\
             rename = \"mock\"\n",
            mock.address
        )
    }

    /// Runs `thermograph keys`.
    pub(crate) fn keys(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it ran")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = thermograph();
        command.current_dir(self.folder.path()).arg("keys").args(arguments);
        command.env("THERMOGRAPH_STORE_URL", &self.url);
        command
    }

    /// Makes a key: its id, and the key itself.
    pub(super) fn create(&self, arguments: &[&str]) -> (String, String) {
        created(&self.keys(&[&["create", "--name=test"], arguments].concat()))
    }

    pub(crate) fn number(&self, statement: &'static str) -> i64 {
        database::number(&self.url, statement)
    }

    pub(crate) fn rows(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM ledger")
    }

    pub(crate) fn spool(&self) -> std::path::PathBuf {
        self.folder.path().join("spool")
    }
}

/// The id and the key that were printed.
pub(crate) fn created(output: &Output) -> (String, String) {
    let [said, key] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{said}");
    let id = said.split(' ').next().expect("an id");
    assert!(id.starts_with("key_") && key.starts_with("tg-"), "{said}");
    (id.to_owned(), key.trim().to_owned())
}

/// Asks with a key.
pub(super) fn ask(server: &Server, key: &str, body: &Value) -> Answer {
    let request = agent().post(server.api(CHAT)).content_type("application/json");
    let request = request.header("authorization", format!("Bearer {key}"));
    answer(request.send(body.to_string()).expect("an answer"))
}

pub(super) fn get(server: &Server, key: &str, path: &str) -> Answer {
    let request = agent().get(server.api(path)).header("authorization", format!("Bearer {key}"));
    answer(request.call().expect("an answer"))
}

/// A request as [`crate::gateway::support::Client`] sends it.
pub(super) fn request(key: &str, body: &Value) -> Request<http_body_util::Full<bytes::Bytes>> {
    Request::post(CHAT)
        .header(header::HOST, "gateway")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(body.to_string().into())
        .expect("a request")
}

/// How many files of rows wait in a folder.
pub(super) fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
