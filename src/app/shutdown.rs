//! The signals that stop the server: the first gracefully, the second at once.

use tokio_util::sync::CancellationToken;

use super::task;

/// Cancels the token at the first signal; ends the process at the second.
pub(crate) fn on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut signals = Signals::listen()?;
    task::spawn("signals", async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        stop.cancel();
        let name = signals.next().await;
        tracing::warn!(signal = name, "ended at once; requests on their way are lost");
        // The exit code of a process that a SIGINT ended.
        std::process::exit(130);
    });
    Ok(())
}

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
            _ = self.terminate.recv() => "SIGTERM",
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
