//! The folder with the captures.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use super::{Capture, CapturesError, Forms, Name, Unsaved, decode};
use crate::Profile;

/// Most bytes of a file that is read.
const MAX_FILE: u64 = 1 << 28;

/// A folder whose subfolders `profiles` and `flamegraphs` hold captures.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Most captures that it may hold.
    max: usize,
    /// Held while one is written, so that two do not both find room for one.
    writing: Mutex<()>,
    /// Captures that could not be written.
    unsaved: Unsaved,
}

/// A form that a capture is kept in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Form {
    /// Gzipped `profile.proto`.
    Pprof,
    /// Folded stacks.
    Folded,
    /// A gzipped timeline.
    Json,
    /// The picture.
    Svg,
}

/// A capture in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Name of the capture.
    pub name: String,
    /// Kind of the capture, as it stands in the name.
    pub kind: &'static str,
    /// Handler that it is of, as it stands in the name; `None` if it is of all.
    pub handler: Option<String>,
    /// When its window began, as it stands in the name.
    pub time: String,
    /// Size of all its files together.
    pub bytes: u64,
    /// Paths of its files, relative to the folder; empty if it could not be written.
    pub files: Vec<String>,
}

impl Folder {
    /// Uses a folder, which may not exist yet, for at most `max` captures.
    pub fn new(root: &Path, max: usize) -> Self {
        // Messages with an absolute path are clear wherever they are read.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root, max, writing: Mutex::default(), unsaved: Unsaved::default() }
    }

    /// Absolute path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Fails where there are as many captures as may be: before one is taken. A folder that cannot be
    /// read is no reason: what cannot be written there either is kept in memory.
    pub fn check_bound(&self) -> Result<(), CapturesError> {
        match self.check_room() {
            Err(error @ CapturesError::Full { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps a capture that could not be written in memory, and returns the name that it has there.
    /// The newest few are kept, until the process ends.
    pub fn keep_unsaved(&self, name: Name, forms: Forms, why: String) -> Name {
        self.unsaved.add(name, forms, why)
    }

    /// Captures that could not be written and are kept in memory, the oldest first.
    pub fn unsaved(&self) -> Vec<Arc<Capture>> {
        self.unsaved.all()
    }

    /// Writes a capture in these forms, and returns its name.
    ///
    /// Two that began in the same second do not have one name: the later one's is a second on.
    pub fn save(&self, mut name: Name, forms: &[(Form, &[u8])]) -> Result<Name, CapturesError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // `profiles`, unless there is a picture only: all that write one kind claim in one place.
        let claims = forms.iter().map(|(form, _)| form.folder()).max().unwrap_or("profiles");
        let claims = self.root.join(claims);
        let _claim = loop {
            if let Some(claim) = Claim::take(&claims, &name)?
                && self.files(&name).next().is_none()
            {
                break claim;
            }
            name = name.next();
        };
        self.check_room()?;
        for (form, bytes) in forms {
            let written = write(&self.path(&name, *form), bytes);
            if written.is_err() {
                // Half a capture is none; what cannot be removed either is seen in the list.
                let _ = self.delete(&name);
            }
            written?;
        }
        Ok(name)
    }

    /// Lists the captures that are written, the newest first.
    pub fn list(&self) -> Result<Vec<Entry>, CapturesError> {
        let mut entries = BTreeMap::<String, (Name, u64, Vec<Form>)>::new();
        for folder in Form::FOLDERS {
            let path = self.root.join(folder);
            let unreadable = |error| CapturesError::Unreadable { path: path.clone(), error };
            let files = match fs::read_dir(&path) {
                Ok(files) => files,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error)),
            };
            for file in files {
                let file = file.map_err(unreadable)?;
                let named = file.file_name().to_str().and_then(parse);
                let Some((name, form)) = named.filter(|(_, form)| form.folder() == folder) else {
                    continue;
                };
                // Somebody may have deleted it since.
                let Ok(metadata) = file.metadata() else { continue };
                if !metadata.is_file() {
                    continue;
                }
                let entry = entries.entry(name.to_string());
                let (_, bytes, forms) = entry.or_insert_with(|| (name, 0, Vec::new()));
                *bytes += metadata.len();
                forms.push(form);
            }
        }
        let entry = |(name, bytes, mut forms): (Name, u64, Vec<Form>)| {
            forms.sort_unstable();
            Entry {
                kind: name.kind().name(),
                handler: name.handler().map(str::to_owned),
                time: name.time(),
                bytes,
                files: forms.iter().map(|form| form.file(&name)).collect(),
                name: name.to_string(),
            }
        };
        Ok(entries.into_values().rev().map(entry).collect())
    }

    /// The bytes of a capture in one form.
    pub fn read(&self, name: &Name, form: Form) -> Result<Vec<u8>, CapturesError> {
        if let Some(bytes) = self.unsaved.read(name, form) {
            return Ok(bytes);
        }
        let path = self.path(name, form);
        if !is_file(&path) {
            return Err(CapturesError::NotFound(form.file(name)));
        }
        read_at_most(MAX_FILE, path)
    }

    /// Reads and decodes the profile of a capture.
    pub fn profile(&self, name: &Name) -> Result<Profile, CapturesError> {
        let undecodable = |error| {
            let path = self.path(name, Form::Pprof);
            CapturesError::Undecodable { path, error }
        };
        decode(&self.read(name, Form::Pprof)?).map_err(undecodable)
    }

    /// Removes a capture in all its forms.
    pub fn delete(&self, name: &Name) -> Result<(), CapturesError> {
        if self.unsaved.delete(name) {
            return Ok(());
        }
        let mut files = self.files(name).peekable();
        if files.peek().is_none() {
            return Err(CapturesError::NotFound(name.to_string()));
        }
        files.try_for_each(|path| {
            fs::remove_file(&path).map_err(|error| CapturesError::Unwritable { path, error })
        })
    }

    fn check_room(&self) -> Result<(), CapturesError> {
        let max = self.max;
        if max == usize::MAX {
            return Ok(());
        }
        match self.list()?.len() {
            there if there < max => Ok(()),
            there => Err(CapturesError::Full { folder: self.root.clone(), there, max }),
        }
    }

    fn path(&self, name: &Name, form: Form) -> PathBuf {
        self.root.join(form.file(name))
    }

    /// Those that are there of a capture.
    fn files(&self, name: &Name) -> impl Iterator<Item = PathBuf> {
        Form::ALL.into_iter().map(|form| self.path(name, form)).filter(|path| is_file(path))
    }
}

impl Form {
    const ALL: [Self; 4] = [Self::Pprof, Self::Folded, Self::Json, Self::Svg];
    const FOLDERS: [&'static str; 2] = ["profiles", "flamegraphs"];

    /// The path of a capture's file, relative to the folder.
    pub fn file(self, name: &Name) -> String {
        format!("{}/{name}.{}", self.folder(), self.ending())
    }

    fn folder(self) -> &'static str {
        let [profiles, flamegraphs] = Self::FOLDERS;
        if self == Self::Svg { flamegraphs } else { profiles }
    }

    /// The form of a file, by the end of its name; `None` if no form has it.
    pub fn of(file: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| file.ends_with(&format!(".{}", form.ending())))
    }

    /// The end of the names of its files, without the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Json => "json.gz",
            Self::Svg => "svg",
        }
    }
}

/// Parses the name of a file into that of its capture and the form; `None` if it is not a capture's.
pub fn parse(file: &str) -> Option<(Name, Form)> {
    let (name, ending) = file.split_once('.')?;
    let form = Form::ALL.into_iter().find(|form| form.ending() == ending)?;
    Some((name.parse().ok()?, form))
}

/// Writes a file under a hidden name and then renames it, so that readers find it complete or not at
/// all. Makes its folder where there is none.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), CapturesError> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(".new");
    let unfinished = path.with_file_name(hidden);
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder
        .and_then(|()| check_size(bytes))
        .and_then(|()| fs::write(&unfinished, bytes))
        .and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|error| {
        // It may not be there.
        let _ = fs::remove_file(&unfinished);
        CapturesError::Unwritable { path: path.to_owned(), error }
    })
}

/// Fails where the process may not write so large a file (`ulimit -f`): to try ends a process that
/// does not handle SIGXFSZ, see setrlimit(2).
fn check_size(bytes: &[u8]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current
        && bytes.len() as u64 > most
    {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let _ = bytes;
    Ok(())
}

fn read_at_most(max: u64, path: PathBuf) -> Result<Vec<u8>, CapturesError> {
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)) {
        Ok(length) if length as u64 > max => Err(CapturesError::TooLong { path, max }),
        Ok(_) => Ok(bytes),
        Err(error) => Err(CapturesError::Unreadable { path, error }),
    }
}

/// Not what a link leads to: captures are files.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// The right to a name, among all processes that write here; given back when dropped.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
}

impl Claim {
    /// None where another has it.
    fn take(folder: &Path, name: &Name) -> Result<Option<Self>, CapturesError> {
        let path = folder.join(format!(".{name}.claim"));
        let made = fs::create_dir_all(folder).and_then(|()| File::create_new(&path));
        match made {
            Ok(_) => Ok(Some(Self { path })),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(None),
            // The folder says more than a file that nobody has heard of.
            Err(error) => Err(CapturesError::Unwritable { path: folder.to_owned(), error }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Left behind, it costs one name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::captures::Kind;

    /// A folder that is removed when dropped.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(test: &str) -> Self {
            let name = format!("thermograph-captures-{test}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn folder(&self, max: usize) -> Folder {
            Folder::new(&self.0, max)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn name(second: u64, kind: Kind, handler: Option<&str>) -> Name {
        Name::new(SystemTime::UNIX_EPOCH + Duration::from_secs(second), kind, handler)
    }

    const FORMS: [(Form, &[u8]); 3] =
        [(Form::Svg, b"<svg/>"), (Form::Folded, b"a 1\n"), (Form::Pprof, b"p")];

    #[test]
    fn what_is_saved_is_listed_newest_first_read_and_deleted() {
        let temporary = Temporary::new("list");
        let folder = temporary.folder(usize::MAX);
        assert!(folder.list().expect("nothing there").is_empty());
        let old = folder.save(name(1, Kind::Wall, None), &FORMS).expect("saved");
        let new = folder.save(name(2, Kind::Cpu, Some("GET /a")), &FORMS).expect("saved");
        fs::write(temporary.0.join("profiles/README.md"), "not a capture").expect("written");
        fs::write(temporary.0.join("profiles/19700101T000009Z-cpu.svg"), "").expect("written");

        let entries = folder.list().expect("listed");
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["19700101T000002Z-cpu-GET-a", "19700101T000001Z-wall"]);
        assert_eq!((entries[0].kind, entries[0].handler.as_deref()), ("cpu", Some("GET-a")));
        assert_eq!((entries[0].bytes, &*entries[0].time), (11, "19700101T000002Z"));
        assert_eq!(
            entries[0].files,
            [
                "profiles/19700101T000002Z-cpu-GET-a.pb.gz",
                "profiles/19700101T000002Z-cpu-GET-a.folded",
                "flamegraphs/19700101T000002Z-cpu-GET-a.svg",
            ]
        );
        assert_eq!(folder.read(&new, Form::Folded).expect("there"), b"a 1\n");
        folder.delete(&old).expect("deleted");
        for gone in [folder.delete(&old), folder.read(&old, Form::Svg).map(drop)] {
            assert!(matches!(gone, Err(CapturesError::NotFound(_))), "{gone:?}");
        }
        assert_eq!(folder.list().expect("listed").len(), 1);
        let hidden = |path: &str| {
            let files = fs::read_dir(temporary.0.join(path)).expect("a folder");
            files.flatten().filter(|file| file.file_name().as_encoded_bytes()[0] == b'.').count()
        };
        assert_eq!((hidden("profiles"), hidden("flamegraphs")), (0, 0));
    }

    #[test]
    fn two_of_the_same_second_have_names_of_their_own() {
        let temporary = Temporary::new("second");
        let names = std::thread::scope(|scope| {
            // Each a folder of its own, as other processes have: they do not share its lock.
            let save = || {
                let folder = temporary.folder(usize::MAX);
                folder.save(name(1, Kind::Cpu, None), &FORMS).expect("saved").to_string()
            };
            let saving: Vec<_> = (0..8).map(|_| scope.spawn(save)).collect();
            let saved = saving.into_iter().map(|saving| saving.join().expect("no panic"));
            saved.collect::<HashSet<_>>()
        });
        assert_eq!(names.len(), 8, "{names:?}");
        let entries = temporary.folder(usize::MAX).list().expect("listed");
        assert_eq!(entries.len(), 8);
        assert!(entries.iter().all(|entry| entry.files.len() == 3 && entry.bytes == 11));
    }

    #[test]
    fn past_the_bound_nothing_is_written_and_nothing_deleted() {
        let temporary = Temporary::new("full");
        let folder = temporary.folder(1);
        folder.check_bound().expect("room");
        folder.save(name(1, Kind::Cpu, None), &FORMS).expect("saved");
        let refused = folder.save(name(2, Kind::Cpu, None), &FORMS).expect_err("full").to_string();
        assert!(refused.contains("holds 1 captures, and diagnostics.max_captures"), "{refused}");
        assert!(folder.check_bound().is_err());
        assert_eq!(folder.list().expect("listed").len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let temporary = Temporary::new("unwritable");
        fs::create_dir_all(&temporary.0).expect("a folder");
        fs::write(temporary.0.join("profiles"), "a file").expect("written");
        let folder = temporary.folder(9);
        let path = temporary.0.join("profiles").display().to_string();
        folder.check_bound().expect("that is for the one that writes to say");
        let saved = folder.save(name(1, Kind::Cpu, None), &FORMS);
        let error = saved.expect_err("no folder").to_string();
        assert!(error.starts_with(&format!("cannot write {path}: ")), "{error}");
        assert!(!temporary.0.join("flamegraphs").exists(), "half a capture");
    }

    #[test]
    fn captures_that_cannot_be_written_are_read_and_deleted_and_the_newest_few_are_kept() {
        let temporary = Temporary::new("unsaved");
        let folder = temporary.folder(9);
        let forms = |svg: &str| Forms {
            pprof: b"p".to_vec(),
            folded: "a 1\n".to_owned(),
            svg: svg.as_bytes().to_vec(),
        };
        // Two of one second.
        let names: Vec<_> = [1, 1, 11, 21, 31, 41]
            .into_iter()
            .enumerate()
            .map(|(n, second)| {
                let name = name(second, Kind::Cpu, None);
                folder.keep_unsaved(name, forms(&n.to_string()), "why".to_owned())
            })
            .collect();
        let distinct: HashSet<_> = names.iter().map(Name::to_string).collect();
        assert_eq!(distinct.len(), 6, "{names:?}");
        let kept = folder.unsaved();
        assert_eq!(kept.len(), Unsaved::MAX_CAPTURES);
        assert_eq!(kept[0].entry().name, names[2].to_string(), "the oldest are gone");
        assert_eq!((&*kept[0].why, kept[0].entry().files.len()), ("why", 0));
        assert_eq!(folder.read(&names[5], Form::Svg).expect("there"), b"5");
        assert_eq!(folder.read(&names[5], Form::Folded).expect("there"), b"a 1\n");
        folder.delete(&names[5]).expect("there");
        for gone in [&names[0], &names[5]] {
            let gone = folder.read(gone, Form::Svg).expect_err("gone");
            assert!(matches!(gone, CapturesError::NotFound(_)), "{gone:?}");
        }
        assert!(!temporary.0.exists(), "something was written");
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let temporary = Temporary::new("long");
        let path = temporary.0.join("file");
        write(&path, &[0; 100]).expect("written");
        assert_eq!(read_at_most(100, path.clone()).expect("not too long").len(), 100);
        let refused = read_at_most(99, path.clone()).expect_err("too long").to_string();
        assert!(refused.contains("file is too long: 99 bytes are allowed"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_capture() {
        let temporary = Temporary::new("link");
        let profiles = temporary.0.join("profiles");
        fs::create_dir_all(&profiles).expect("a folder");
        let (link, name) = (profiles.join("19700101T000001Z-cpu.folded"), name(1, Kind::Cpu, None));
        std::os::unix::fs::symlink("/etc/hostname", link).expect("a link");
        let folder = temporary.folder(9);
        assert!(folder.list().expect("listed").is_empty());
        let read = folder.read(&name, Form::Folded);
        assert!(matches!(read, Err(CapturesError::NotFound(_))), "{read:?}");
    }
}
