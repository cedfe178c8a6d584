//! The configuration, taken over again while the service runs: at SIGHUP, and when its file is
//! written or replaced, or a file that it names.
//!
//! Of a bad file nothing is taken over. What only a start can take over is told.

mod hang_up;
mod watched;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{Counter, Unit, counter, describe_counter};
use thermograph_service::Service;

use self::{hang_up::HangUps, watched::Watched};
use super::{
    config::{Loaded, Source},
    server::Tls,
    task,
};

/// Takes the configuration over again; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Reload {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    service: Service,
    /// TLS of the listeners, whose certificates are replaced beside the configuration.
    tls: Vec<Tls>,
    /// What the process started with.
    started: Loaded,
    /// What was loaded last, if anything was again. Its lock is held while that is done.
    newest: Mutex<Option<Loaded>>,
    meters: Meters,
}

/// What came of it.
struct Meters {
    applied: Counter,
    unchanged: Counter,
    refused: Counter,
}

impl Reload {
    /// `started` was loaded from `source`, and `service` started with it.
    pub(crate) fn new(source: Source, started: Loaded, service: Service, tls: Vec<Tls>) -> Self {
        let (newest, meters) = (Mutex::default(), Meters::new());
        Self { inner: Arc::new(Inner { source, service, tls, started, newest, meters }) }
    }

    /// What the process started with.
    pub(crate) fn started(&self) -> &Loaded {
        &self.inner.started
    }

    /// Waits for the signal and for changes of the file, in a task of its own.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let mut hang_ups = HangUps::listen()?;
        let mut watched = Watched::new(self.files());
        task::spawn("reload", async move {
            loop {
                let cause = tokio::select! {
                    // Cancel-safe: a signal that is not received now is received next time.
                    () = hang_ups.next() => "SIGHUP",
                    // Cancel-safe: what is loaded now is newer than the change that is forgotten.
                    () = watched.changed() => "file",
                };
                let this = self.clone();
                // It reads files. A panic in it is reported, and no more.
                let _ = task::spawn_blocking("reload", move || this.now(cause)).await;
                watched.set(self.files());
            }
        });
        Ok(())
    }

    /// Files of the configuration that is in effect.
    fn files(&self) -> BTreeSet<PathBuf> {
        let Inner { source, started, newest, tls, .. } = &*self.inner;
        let newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        let named = newest.as_ref().unwrap_or(started).files();
        let certificates = tls.iter().flat_map(Tls::files);
        let files = source.file.as_deref().into_iter().chain(named).chain(certificates);
        files.map(Path::to_owned).collect()
    }

    /// Loads the configuration, and takes over what can be.
    fn now(&self, cause: &str) {
        self.inner.tls.iter().for_each(Tls::reload);
        let mut newest = self.inner.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = newest.as_ref().unwrap_or(&self.inner.started);
        match self.take_over(before, cause) {
            Ok(loaded) => *newest = Some(loaded),
            Err(error) => {
                self.inner.meters.refused.increment(1);
                let error = format!("{error:#}");
                tracing::error!(cause, error, "the configuration is as before: it was refused");
            }
        }
    }

    fn take_over(&self, before: &Loaded, cause: &str) -> anyhow::Result<Loaded> {
        let Inner { source, service, started, meters, .. } = &*self.inner;
        if let Some(file) = &source.file {
            // Who writes it in place empties it first.
            let is_empty = fs::metadata(file).is_ok_and(|metadata| metadata.len() == 0);
            anyhow::ensure!(!is_empty, "{} is empty", file.display());
        }
        let loaded = source.load()?;
        let changed = loaded.changed(before);
        if changed.is_empty() {
            meters.unchanged.increment(1);
            tracing::info!(cause, "the configuration is as before: nothing changed in it");
        } else {
            service.reconfigure(&loaded.config.service())?;
            meters.applied.increment(1);
            let keys = changed.join(", ");
            tracing::info!(cause, keys, "the configuration was taken over");
        }
        let pending = loaded.pending(started);
        if !pending.is_empty() && pending != before.pending(started) {
            let keys = pending.join(", ");
            tracing::warn!(keys, "changed in the configuration, and in effect at the next start");
        }
        Ok(loaded)
    }
}

impl Meters {
    fn new() -> Self {
        let name = "thermograph_config_reloads_total";
        describe_counter!(name, Unit::Count, "Configurations loaded again, by what came of it.");
        Self {
            applied: counter!(name, "result" => "applied"),
            unchanged: counter!(name, "result" => "unchanged"),
            refused: counter!(name, "result" => "refused"),
        }
    }
}
