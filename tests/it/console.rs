//! The real tokio-console, in a terminal.

use std::process::Command;

use crate::support::{Server, tool, under_load, wait};

/// A tmux server of our own; killed when dropped.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(command: &str) -> Self {
        let terminal = Self { socket: format!("thermograph-{}", std::process::id()) };
        terminal.tmux(&["new-session", "-d", "-x", "160", "-y", "50", command]);
        terminal
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new(tool("tmux"))
            .args(["-f", "/dev/null", "-L", &self.socket])
            .args(args)
            .env("TERM", "xterm-256color")
            .output()
            .expect("tmux runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Gone already where its command has ended.
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn tokio_console_attaches_and_lists_tasks() {
    let server = Server::start();
    let console = server.addresses.console.expect("the console is on");
    let command = format!("{} http://{console}", tool("tokio-console").display());
    let terminal = Terminal::start(&command);
    under_load(&server, || {
        wait("the console lists tasks of the server's connections", || {
            let screen = terminal.screen();
            let tasks = screen.lines().find(|line| line.contains("Tasks ("));
            let is_some = tasks.is_some_and(|line| !line.contains("Tasks (0)"));
            is_some && screen.contains("src/app/server.rs")
        });
    });
}
