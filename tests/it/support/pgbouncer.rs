//! A `PgBouncer` before Postgres, in transaction mode, on a port of its own.

use std::{
    fs::{self, File},
    net::TcpStream,
    os::unix::{fs::chown, process::CommandExt as _},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{
    free_address,
    postgres::{NOBODY, PASSWORD, Postgres},
    tool, wait,
};

/// A running pooler; killed when dropped.
pub(crate) struct PgBouncer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// A pooler that has so many connections to Postgres.
    pub(crate) fn before(postgres: &Postgres, connections: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_address().port();
        let (path, there) = (folder.path(), postgres.port());
        let config = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={there} user=thermograph password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\n"
        );
        fs::write(path.join("pgbouncer.ini"), config).expect("written");
        let output = File::create(path.join("output")).expect("a file");
        let mut program = Command::new(tool("pgbouncer"));
        program.current_dir(path).arg("pgbouncer.ini").stdin(Stdio::null());
        program.stdout(output.try_clone().expect("a file")).stderr(output);
        if geteuid().is_root() {
            // It refuses root, too.
            for path in [path, &path.join("pgbouncer.ini")] {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
            program.uid(NOBODY).gid(NOBODY);
        }
        let child = program.spawn().expect("it starts");
        let mut started = Self { child, folder, port };
        wait("the pooler answers", || {
            let ended = started.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the pooler ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        started
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://thermograph@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("output")).unwrap_or_default();
            eprintln!("log of the pooler:\n{log}");
        }
    }
}
