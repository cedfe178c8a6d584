//! A file whose changes are noticed: written in place, replaced by a rename, or, as Kubernetes
//! does it, behind a link that is.

use std::{fs, path::Path, sync::Arc, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind,
};
use tokio::{sync::Notify, time};

/// What is written is whole after so much quiet.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for that.
const LONGEST: Duration = Duration::from_secs(5);

/// A file that is watched as long as this is there.
pub(super) struct Watched {
    changes: Arc<Notify>,
    /// None: there is no file.
    _watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// Watches the folder of the file: a file that is replaced is another one.
    pub(super) fn new(file: &Path) -> notify::Result<Self> {
        let file = std::path::absolute(file)?;
        let folder = file.parent().unwrap_or(&file).to_owned();
        let changes = Arc::new(Notify::new());
        let noticed = Arc::clone(&changes);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What was missed may have been a change.
            if event.map_or(true, |event| concerns(&event, &file)) {
                noticed.notify_one();
            }
        })?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(Self { changes, _watcher: Some(watcher) })
    }

    /// No file, which never changes.
    pub(super) fn nothing() -> Self {
        Self { changes: Arc::default(), _watcher: None }
    }

    /// Waits for changes, and then until there are no more for a while.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
        let quiet = async { while time::timeout(QUIET, self.changes.notified()).await.is_ok() {} };
        // Who writes for ever is read in between.
        let _passed = time::timeout(LONGEST, quiet).await;
    }
}

/// Whether the file may be another one after this. What is only read is not, and what is written
/// beside it is not, lest a log in the same folder that tells of it goes round and round.
fn concerns(event: &Event, file: &Path) -> bool {
    let is_named = event.paths.iter().any(|path| path.file_name() == file.file_name());
    match event.kind {
        _ if event.need_rescan() => true,
        EventKind::Access(_) => false,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            is_named || is_link(file)
        }
        _ => is_named,
    }
}

fn is_link(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_symlink())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const CONFIG: &str = "thermograph.toml";

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join(CONFIG);
        (dir, file)
    }

    /// Long enough for a machine that is busy.
    async fn changed(watched: &Watched) {
        let changed = time::timeout(Duration::from_mins(1), watched.changed());
        changed.await.expect("a change that is noticed");
    }

    #[tokio::test]
    async fn a_file_is_written_replaced_and_removed() {
        let (dir, file) = folder();
        fs::write(&file, "first").expect("written");
        let watched = Watched::new(&file).expect("watched");
        fs::write(&file, "second").expect("written");
        changed(&watched).await;
        let other = dir.path().join(".thermograph.toml.swp");
        fs::write(&other, "third").expect("written");
        fs::rename(&other, &file).expect("renamed");
        changed(&watched).await;
        fs::remove_file(&file).expect("removed");
        changed(&watched).await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_is_followed_as_kubernetes_turns_it() {
        use std::os::unix::fs::symlink;
        let (dir, file) = folder();
        let path = |name: &str| dir.path().join(name);
        for (version, text) in [("..1", "first"), ("..2", "second")] {
            fs::create_dir(path(version)).expect("a folder");
            fs::write(path(version).join(CONFIG), text).expect("written");
        }
        symlink("..1", path("..data")).expect("a link");
        symlink(Path::new("..data").join(CONFIG), &file).expect("a link");
        let watched = Watched::new(&file).expect("watched");
        symlink("..2", path("..data_tmp")).expect("a link");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
        changed(&watched).await;
        assert_eq!(fs::read_to_string(&file).expect("read"), "second");
    }

    #[test]
    fn what_is_read_and_what_lies_beside_it_is_no_change() {
        use notify::event::{AccessKind, CreateKind, DataChange};
        let (dir, file) = folder();
        let event =
            |kind, name: &str| concerns(&Event::new(kind).add_path(dir.path().join(name)), &file);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(event(written, CONFIG));
        assert!(!event(written, "log"));
        assert!(!event(EventKind::Create(CreateKind::File), "log"));
        assert!(!event(EventKind::Access(AccessKind::Any), CONFIG));
    }
}
