//! Debug information of a program or library: in the file itself, or in files beside it.
//!
//! Separate files are looked for as GDB does ("Debugging Information in Separate Files" in its
//! manual): by build id below `/usr/lib/debug/.build-id`, then by the name and the checksum in
//! `.gnu_debuglink`: beside the program, in `.debug` there, and below `/usr/lib/debug`. Split DWARF
//! is found as a package (`app.dwp` beside `app`) or as the objects that the compiler wrote
//! (`.dwo`, by the path in the program).

use std::{
    fmt,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use addr2line::{Loader, gimli};
use memmap2::Mmap;
use object::{Object as _, ObjectSection as _};

use super::modules::{Module, hex};

/// Below it distributions install debug information, by build id and by path.
const GLOBAL: &str = "/usr/lib/debug";
/// Compilation units that are looked at for split DWARF.
const MOST_UNITS: usize = 100_000;

/// Debug information of one file, opened.
pub(super) struct DebugFiles {
    /// The one with the most information first.
    loaders: Vec<Loader>,
    found: Found,
}

enum Found {
    /// In the file itself, or what it has of split DWARF, and the path that the file is known by.
    Inside(Image, PathBuf),
    Elsewhere(DebugInfo),
}

/// Where the debug information of a file is, or why it is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DebugInfo {
    /// In the file itself.
    Inside,
    /// In this file: a separate one, or a package of split DWARF.
    In(PathBuf),
    /// The file names another one, which was not found.
    Missing {
        /// The file that is named: by `.gnu_debuglink`, or by a unit of split DWARF.
        file: PathBuf,
        /// Files that were looked for, and are not there or belong to another build.
        tried: Vec<PathBuf>,
    },
    /// Neither in the file nor anywhere that it names.
    None,
}

impl DebugFiles {
    /// Opens what there is for a module.
    pub(super) fn of(module: &Module) -> Self {
        let Some(path) = &module.path else { return Self::nothing() };
        let shown = Path::new(&module.mapping.file);
        // The path by which the program is known, unless another file is there by now.
        let inode = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let is_same = inode(path).is_some_and(|own| inode(shown) == Some(own));
        Self::open(path, if is_same { shown } else { path }, Path::new(GLOBAL))
    }

    /// Opens the file at `path`, and looks for other files from `place`, which is the same file, and
    /// below `global`.
    fn open(path: &Path, place: &Path, global: &Path) -> Self {
        let Ok(file) = Image::open(path) else { return Self::nothing() };
        let Ok(object) = file.object() else { return Self::nothing() };
        if has_units(&object) {
            // Only by its own path does the loader find the package beside it.
            let loader = Loader::new(if package_of(place).is_file() { place } else { path });
            let found = Found::Inside(file, place.to_path_buf());
            return Self { loaders: loader.into_iter().collect(), found };
        }
        let search = Search::of(&object, place, global);
        let separate = search.find();
        let separate = separate.and_then(|found| Some((load_separate(&found)?, found)));
        let own = Loader::new(path).ok();
        match separate {
            Some((loader, found)) => Self {
                loaders: std::iter::once(loader).chain(own).collect(),
                found: Found::Elsewhere(DebugInfo::In(found)),
            },
            None => Self {
                loaders: own.into_iter().collect(),
                found: Found::Elsewhere(search.missing()),
            },
        }
    }

    fn nothing() -> Self {
        Self { loaders: Vec::new(), found: Found::Elsewhere(DebugInfo::None) }
    }

    pub(super) fn loaders(&self) -> &[Loader] {
        &self.loaders
    }

    /// Where the debug information is. It may look at every unit of a program, which takes a while.
    pub(super) fn found(&self) -> DebugInfo {
        let (file, place) = match &self.found {
            Found::Inside(file, place) => (file, place),
            Found::Elsewhere(found) => return found.clone(),
        };
        let split = file.object().ok().and_then(|object| first_split(&object));
        let package = package_of(place);
        match split {
            None => DebugInfo::Inside,
            Some(_) if package.is_file() => DebugInfo::In(package),
            Some(unit) if unit.is_file() => DebugInfo::In(unit),
            Some(unit) => DebugInfo::Missing { file: package.clone(), tried: vec![package, unit] },
        }
    }
}

impl fmt::Debug for DebugFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugFiles").field("loaders", &self.loaders.len()).finish_non_exhaustive()
    }
}

/// What a file says of its separate debug information.
struct Search {
    build_id: Vec<u8>,
    /// Name and CRC-32 of the file.
    link: Option<(PathBuf, u32)>,
    /// Directories in which the file may be.
    directories: Vec<PathBuf>,
    /// Below it are files for the whole system.
    global: PathBuf,
}

impl Search {
    fn of(object: &object::File<'_>, place: &Path, global: &Path) -> Self {
        let build_id = object.build_id().ok().flatten().unwrap_or_default().to_vec();
        let link = object.gnu_debuglink().ok().flatten();
        let link = link.map(|(name, crc)| (path_of(name), crc));
        // Both the directory as it is known and the one that links lead to, as GDB does.
        let real = fs::canonicalize(place).ok();
        let places = [Some(place), real.as_deref()].into_iter().flatten();
        let mut directories: Vec<_> =
            places.filter_map(Path::parent).map(Path::to_path_buf).collect();
        directories.dedup();
        Self { build_id, link, directories, global: global.to_path_buf() }
    }

    fn find(&self) -> Option<PathBuf> {
        let by_build_id = self.by_build_id().filter(|path| self.has_our_build_id(path));
        by_build_id.or_else(|| self.by_link().into_iter().find(|path| self.has_our_checksum(path)))
    }

    /// As `/usr/lib/debug/.build-id/ab/cdef….debug`.
    fn by_build_id(&self) -> Option<PathBuf> {
        let (first, rest) = self.build_id.split_first()?;
        let name = format!(".build-id/{first:02x}/{}.debug", hex(rest));
        Some(self.global.join(name))
    }

    fn by_link(&self) -> Vec<PathBuf> {
        let Some((name, _)) = &self.link else { return Vec::new() };
        let below = |directory: &PathBuf| {
            let global = directory.strip_prefix("/").map(|inside| self.global.join(inside));
            let near = [directory.clone(), directory.join(".debug")];
            near.into_iter().chain(global.ok()).map(|directory| directory.join(name))
        };
        self.directories.iter().flat_map(below).collect()
    }

    fn has_our_build_id(&self, path: &Path) -> bool {
        let Ok(file) = Image::open(path) else { return false };
        let object = file.object();
        object.is_ok_and(|object| object.build_id().ok().flatten() == Some(&self.build_id[..]))
    }

    fn has_our_checksum(&self, path: &Path) -> bool {
        let Some((_, wanted)) = self.link else { return false };
        let Ok(file) = Image::open(path) else { return false };
        let mut crc = flate2::Crc::new();
        crc.update(&file.0);
        crc.sum() == wanted
    }

    fn missing(&self) -> DebugInfo {
        match &self.link {
            Some((name, _)) => {
                let tried = self.by_build_id().into_iter().chain(self.by_link()).collect();
                DebugInfo::Missing { file: name.clone(), tried }
            }
            None => DebugInfo::None,
        }
    }
}

/// A file, mapped.
struct Image(Mmap);

impl Image {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: read-only and private. A file of debug information is replaced, not truncated, by
        // installers and linkers, as the libraries are that are mapped like this too.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    fn object(&self) -> object::Result<object::File<'_>> {
        object::File::parse(&*self.0)
    }
}

/// Loads a separate file, and the one that it shares information with where it names one, as
/// distributions' do (`dwz`).
fn load_separate(path: &Path) -> Option<Loader> {
    let file = Image::open(path).ok()?;
    let object = file.object().ok()?;
    let shared = object.gnu_debugaltlink().ok().flatten().map(|(name, _)| path_of(name));
    // A relative name is relative to the real file.
    let real = fs::canonicalize(path).ok()?;
    let shared = shared.map(|shared| real.parent().unwrap_or(Path::new("/")).join(shared));
    Loader::new_with_sup(path, shared.filter(|shared| shared.is_file())).ok()
}

/// The package of split DWARF that belongs to a program: `app.dwp`, `libapp.so.dwp`.
fn package_of(program: &Path) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(".dwp");
    name.into()
}

/// Whether a file has debug information, compressed or not.
fn has_units(object: &object::File<'_>) -> bool {
    object.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
        // Of what `objcopy --only-keep-debug` leaves of other sections there are no bytes.
        && object.section_by_name(".debug_abbrev").is_some_and(|section| {
            section.data().is_ok_and(|bytes| !bytes.is_empty())
        })
}

/// The file with the first unit of a program that is elsewhere, where there is one.
fn first_split(object: &object::File<'_>) -> Option<PathBuf> {
    let endian = gimli::RunTimeEndian::Little;
    let sections = gimli::DwarfSections::load(|id| -> Result<_, object::Error> {
        let section = object.section_by_name(id.name());
        Ok(section.map(|section| section.uncompressed_data()).transpose()?.unwrap_or_default())
    });
    let sections = sections.ok()?;
    let dwarf = sections.borrow(|bytes| gimli::EndianSlice::new(bytes, endian));
    let mut units = dwarf.units();
    for _ in 0..MOST_UNITS {
        let unit = dwarf.unit(units.next().ok()??).ok()?;
        if unit.dwo_id.is_none() {
            continue;
        }
        let directory = unit.comp_dir.as_ref().map_or("".as_ref(), |path| path_slice(path.slice()));
        let name = unit.dwo_name().ok().flatten();
        let name = name.and_then(|name| dwarf.attr_string(&unit, name).ok());
        return name.map(|name| directory.join(path_slice(name.slice())));
    }
    None
}

fn path_slice(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    path_slice(bytes).to_path_buf()
}

#[cfg(test)]
mod tests;
