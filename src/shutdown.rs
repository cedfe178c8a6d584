//! The signals that stop the server: the first gracefully, the second at once.

use tokio_util::sync::CancellationToken;

use super::task;

/// Request to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// Cancelled by the first signal.
    pub(crate) requested: CancellationToken,
    /// Cancelled as well if that was SIGINT, which a person sends from a terminal: there is no balancer
    /// that has to notice first.
    pub(crate) interrupted: CancellationToken,
}

/// Listens to signals: the first requests to stop, the second ends the process.
pub(crate) fn on_signal() -> std::io::Result<Stop> {
    let mut signals = Signals::listen()?;
    let interrupted = CancellationToken::new();
    let requested = interrupted.child_token();
    let stop = Stop { requested, interrupted };
    let stopping = stop.clone();
    task::spawn("signals", async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        if name == TERMINATE {
            stopping.requested.cancel();
        } else {
            // Cancels its child as well.
            stopping.interrupted.cancel();
        }
        let name = signals.next().await;
        tracing::warn!(signal = name, "ended at once; requests on their way are lost");
        // The exit code of a process that a SIGINT ended.
        std::process::exit(130);
    });
    Ok(stop)
}

const TERMINATE: &str = "SIGTERM";

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Cancel-safe: a signal that is not received now is received next time.
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => TERMINATE,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        // Without a handler there is no signal to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "ctrl-c"
    }
}
