//! Files whose changes are noticed: written in place, replaced by a rename, or, as Kubernetes
//! does it, behind a link that is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind,
};
use tokio::{sync::Notify, time};

/// What is written is whole after so much quiet.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for that.
const LONGEST: Duration = Duration::from_secs(5);

/// Files that are watched as long as this is there.
pub(super) struct Watched {
    files: BTreeSet<PathBuf>,
    changes: Arc<Notify>,
    /// `None` if there are no files, or the system watches none.
    _watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// Watches the folders of the files: a file that is replaced is another one. Those that cannot be
    /// watched are logged.
    pub(super) fn new(files: BTreeSet<PathBuf>) -> Self {
        let changes = Arc::new(Notify::new());
        let watcher = watch(&files, Arc::clone(&changes)).unwrap_or_else(|error| {
            tracing::warn!(%error, "files are not watched: SIGHUP loads them again");
            None
        });
        Self { files, changes, _watcher: watcher }
    }

    /// Watches other files from now on. They may have changed before that, which counts as a change.
    pub(super) fn set(&mut self, files: BTreeSet<PathBuf>) {
        if self.files != files {
            *self = Self::new(files);
            self.changes.notify_one();
        }
    }

    /// Waits for changes, and then until there are no more for a while.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
        let quiet = async { while time::timeout(QUIET, self.changes.notified()).await.is_ok() {} };
        // Who writes for ever is read in between.
        let _passed = time::timeout(LONGEST, quiet).await;
    }
}

fn watch(
    files: &BTreeSet<PathBuf>,
    changes: Arc<Notify>,
) -> notify::Result<Option<RecommendedWatcher>> {
    let files = files.iter().map(std::path::absolute).collect::<Result<Vec<_>, _>>()?;
    let folders: BTreeSet<_> =
        files.iter().map(|file| file.parent().unwrap_or(file).to_owned()).collect();
    if folders.is_empty() {
        return Ok(None);
    }
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An event that was missed may have been a change.
        let is_change = event.map_or(true, |event| files.iter().any(|file| concerns(&event, file)));
        if is_change {
            changes.notify_one();
        }
    })?;
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "not watched: SIGHUP loads its files again");
        }
    }
    Ok(Some(watcher))
}

/// Returns whether the file may be another one after this. A file that is only read is not. Nor is it
/// after writes to others in its folder: a log there would have it loaded and logged for ever.
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
        let watched = Watched::new(BTreeSet::from([file.clone()]));
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
        let watched = Watched::new(BTreeSet::from([file.clone()]));
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
