//! nginx as a reverse proxy: no gateway, but what passing on costs where nothing is looked into.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use rustix::process::geteuid;

use super::program::Program;
use crate::{
    process::{follower, free_address},
    venv::run,
};

/// Its version, and the server.
pub(crate) fn start(upstream: SocketAddr) -> anyhow::Result<(String, Program)> {
    let nginx = program()?;
    let (dir, address) = (tempfile::tempdir()?, free_address()?);
    let config = dir.path().join("nginx.conf");
    fs::write(&config, configuration(upstream, address))?;
    let version = version(&nginx)?;
    let mut command = follower(&nginx)?;
    command.arg("-p").arg(dir.path()).arg("-e").arg(dir.path().join("error.log"));
    let program = Program::start(dir, address, command.arg("-c").arg(config))?;
    Ok((version, program))
}

/// All paths are in its own folder, which is the prefix.
fn configuration(upstream: SocketAddr, address: SocketAddr) -> String {
    // Root's workers would be somebody else, who may not write there.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {what};"))
        .join(" ");
    format!(
        "{user}
        daemon off;
        pid nginx.pid;
        worker_processes auto;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            {temporary}
            upstream mock {{
                server {upstream};
                keepalive 64;
                keepalive_requests 1000000000;
            }}
            server {{
                listen {address};
                keepalive_requests 1000000000;
                location / {{
                    proxy_pass http://mock;
                    proxy_http_version 1.1;
                    proxy_set_header Connection '';
                    proxy_buffering off;
                }}
            }}
        }}"
    )
}

/// What is installed, or else Debian's package unpacked under `target/`: installed, it would start
/// a server of its own.
fn program() -> anyhow::Result<PathBuf> {
    for installed in ["nginx", "/usr/sbin/nginx"] {
        if Command::new(installed).arg("-v").output().is_ok() {
            return Ok(installed.into());
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-nginx");
    let nginx = folder.join("usr/sbin/nginx");
    if !nginx.is_file() {
        eprintln!("unpacking Debian's nginx into {}", folder.display());
        fs::create_dir_all(&folder)?;
        let fetch =
            || run(Command::new("apt-get").current_dir(&folder).args(["download", "nginx"]));
        if fetch().is_err() {
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            fetch()?;
        }
        let packages = fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
        let mut packages = packages.filter(|path| path.extension().is_some_and(|end| end == "deb"));
        let package = packages.next().context("apt-get has left no package")?;
        run(Command::new("dpkg").arg("-x").arg(package).arg(&folder))?;
    }
    Ok(nginx)
}

fn version(nginx: &Path) -> anyhow::Result<String> {
    let said = Command::new(nginx).arg("-v").output()?;
    ensure!(said.status.success(), "nginx does not say its version");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (_, version) = said.trim().rsplit_once('/').context("nginx does not say its version")?;
    Ok(version.to_owned())
}
