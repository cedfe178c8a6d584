//! The API on a socket in the file system.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::Command,
};

use rustix::process::Signal;

use super::posted;
use crate::{
    gateway::support::{CHAT, Mock, stream},
    support::{PATIENCE, Server, thermograph, wait},
};

fn listen(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn curl(path: &Path, more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--write-out", "%{http_version} %{http_code}", "--output", "/dev/null"]);
    curl.arg("--unix-socket").arg(path).args(more).arg("http://localhost/v1/models");
    String::from_utf8(curl.output().expect("ran").stdout).expect("text")
}

#[test]
fn socket_is_made_served_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    // A process that is killed leaves its socket so.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let mut server = Server::configured(&listen(&path), "[api]\nsocket_mode = \"0600\"\n", &[]);
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(curl(&path, &[]), "1.1 200");
    assert_eq!(curl(&path, &["--http2-prior-knowledge"]), "2 200");
    assert!(server.log().contains(&listen(&path)), "{}", server.log());

    let mut second = thermograph();
    second.args(["serve", "--listen", &listen(&path), "--diagnostics-listen=127.0.0.1:0"]);
    let refused = second.arg("--console-listen=127.0.0.1:0").output().expect("ran");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("another process listens on it"), "{error}");
    assert_eq!(curl(&path, &[]), "1.1 200", "the first goes on");

    server.signal(Signal::INT);
    assert!(server.ended().success());
    assert!(!path.exists());
}

#[test]
fn half_close_limit_and_drain_are_those_of_a_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let mock = Mock::start(&["--latency=1s", "--interval=10ms"]);
    let toml = format!(
        "[api]\nmax_connections = 1\n[upstreams.a]\nurl = \"{}\"\n[models.mock]\nupstreams = [\"a\"]\n",
        mock.url("")
    );
    let mut server = Server::configured(&listen(&path), &toml, &[]);
    let mut client = UnixStream::connect(&path).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client.write_all(posted(CHAT, &stream().to_string()).as_bytes()).expect("sent");
    client.shutdown(Shutdown::Write).expect("shut down");
    wait("it is asked upstream", || mock.counts().in_flight == 1);
    assert_eq!(curl(&path, &[]), "1.1 503");
    server.signal(Signal::INT);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("[DONE]"), "{answer}");
    assert!(server.ended().success());
}

#[test]
fn address_that_is_none_is_refused_with_what_is_allowed() {
    let check = |variables: &[(&str, &str)]| {
        let mut command = thermograph();
        command.args(["serve", "--check"]).envs(variables.iter().copied());
        String::from_utf8(command.output().expect("ran").stderr).expect("text")
    };
    for bad in ["unix:", "unix:relative.sock", "here", "127.0.0.1"] {
        let error = check(&[("THERMOGRAPH_API_LISTEN", bad)]);
        assert!(error.contains("\"unix:/run/thermograph.sock\""), "{bad}: {error}");
    }
    for bad in ["660x", "1777", "", "rw"] {
        let error = check(&[("THERMOGRAPH_API_SOCKET_MODE", bad)]);
        assert!(error.contains("permissions in octal"), "{bad}: {error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "mine").expect("written");
    let mut command = thermograph();
    command.args(["serve", "--diagnostics-listen=127.0.0.1:0", "--console-listen=127.0.0.1:0"]);
    let refused = command.args(["--listen", &listen(&file)]).output().expect("ran");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("a file that is no socket is there"), "{error}");
    assert_eq!(fs::read(&file).expect("still there"), b"mine");
}
