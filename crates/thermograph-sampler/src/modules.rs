//! The code of the process: which files are mapped, where, and what they hold for unwinding.

use std::{
    fs::{self, File},
    io,
    ops::{Deref, Range},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _};
use thermograph_profile::Mapping;

use crate::problem::{self, Problem};

/// A file that is mapped as code.
#[derive(Clone, Debug)]
pub struct Module {
    /// Address range, file and build ID, as profiles have them.
    pub mapping: Arc<Mapping>,
    /// Where address 0 of the file is in memory.
    pub base: u64,
    /// Where to read it; none for code of the kernel's.
    pub path: Option<PathBuf>,
    image: Image,
    text: Option<Place>,
    eh_frame: Option<Place>,
    eh_frame_hdr: Option<Place>,
}

/// The code of the process, as far as it can be read.
pub fn modules() -> Vec<Module> {
    Module::all().map_err(|error| problem::report(Problem::NoNames(error))).unwrap_or_default()
}

/// The bytes of a file.
#[derive(Clone, Debug)]
enum Image {
    Mapped(Arc<Mmap>),
    Copied(Arc<[u8]>),
}

/// A section: where it is in memory, less the base, and where in the file.
#[derive(Clone, Debug)]
struct Place {
    address: Range<u64>,
    file: Range<usize>,
}

/// The bytes of a section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    image: Image,
    range: Range<usize>,
}

/// Unwind information of a module; addresses are relative to its base.
#[cfg(target_arch = "x86_64")]
pub(super) struct UnwindTables<'a> {
    pub(super) text_address: u64,
    pub(super) eh_frame_address: u64,
    pub(super) eh_frame: &'a [u8],
    pub(super) eh_frame_hdr_address: u64,
    pub(super) eh_frame_hdr: &'a [u8],
}

/// A line of `/proc/self/maps`, of code.
struct Line<'a> {
    start: u64,
    end: u64,
    offset: u64,
    inode: u64,
    path: &'a str,
}

impl Module {
    /// Every file that is mapped as code now, and the kernel's vDSO.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        let program = fs::metadata("/proc/self/exe").map_or(0, |program| program.ino());
        Ok(Self::listed(&maps, program))
    }

    /// Every file that is mapped as code by the list of a process' mappings; `program` is the inode
    /// of `/proc/self/exe`.
    pub fn listed(maps: &str, program: u64) -> Vec<Self> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for line in maps.lines().filter_map(Line::parse) {
            match lines.last_mut() {
                // A mapping that was split, by a change of protection, say.
                Some(last) if last.path == line.path && last.inode == line.inode => {
                    last.end = line.end;
                }
                _ => lines.push(line),
            }
        }
        // What cannot be read, such as a library whose file is gone, is left out.
        lines.iter().filter_map(|line| Self::read(line, program)).collect()
    }

    /// Returns whether the code at an address of the process is from this file.
    pub fn contains(&self, address: u64) -> bool {
        (self.mapping.start..self.mapping.limit).contains(&address)
    }

    /// Whether stacks can be unwound through it.
    pub fn has_unwind_tables(&self) -> bool {
        self.eh_frame.is_some() && self.eh_frame_hdr.is_some()
    }

    /// Its unwind information, as framehop takes it.
    pub(super) fn framehop(&self) -> framehop::Module<Section> {
        let section =
            |place: &Option<Place>| place.as_ref().map(|place| self.section(place.file.clone()));
        let address = |place: &Option<Place>| place.as_ref().map(|place| place.address.clone());
        let sections = framehop::ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: address(&self.text),
            text: section(&self.text),
            eh_frame_svma: address(&self.eh_frame),
            eh_frame: section(&self.eh_frame),
            eh_frame_hdr_svma: address(&self.eh_frame_hdr),
            eh_frame_hdr: section(&self.eh_frame_hdr),
            // Of other systems, or of no use to this one.
            stubs_svma: None,
            stub_helper_svma: None,
            got_svma: None,
            unwind_info: None,
            debug_frame: None,
            text_segment_svma: None,
            text_segment: None,
        };
        let Mapping { start, limit, file, .. } = &*self.mapping;
        framehop::Module::new(file.clone(), *start..*limit, self.base, sections)
    }

    /// Machine code from an address on, at most so many bytes; `None` outside of `.text`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn code(&self, address: u64, length: usize) -> Option<&[u8]> {
        let text = self.text.as_ref()?;
        let relative = address.wrapping_sub(self.base).checked_sub(text.address.start)?;
        let code = self.image.get(text.file.clone())?.get(usize::try_from(relative).ok()?..)?;
        Some(&code[..length.min(code.len())]).filter(|code| !code.is_empty())
    }

    /// The tables that say how frames of this code are unwound.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn unwind_tables(&self) -> Option<UnwindTables<'_>> {
        let (text, frame, header) =
            (self.text.as_ref()?, self.eh_frame.as_ref()?, self.eh_frame_hdr.as_ref()?);
        Some(UnwindTables {
            text_address: text.address.start,
            eh_frame_address: frame.address.start,
            eh_frame: self.image.get(frame.file.clone())?,
            eh_frame_hdr_address: header.address.start,
            eh_frame_hdr: self.image.get(header.file.clone())?,
        })
    }

    /// Every function that has a name: its name as the linker knows it, and where it is in memory.
    pub(super) fn functions(&self, mut each: impl FnMut(&str, Range<u64>)) {
        let Ok(file) = object::File::parse(&*self.image) else { return };
        let functions = file.symbols().chain(file.dynamic_symbols());
        for symbol in functions.filter(|symbol| symbol.kind() == object::SymbolKind::Text) {
            let start = symbol.address().wrapping_add(self.base);
            if let Ok(name) = symbol.name()
                && symbol.is_definition()
            {
                each(name, start..start + symbol.size());
            }
        }
    }

    fn section(&self, range: Range<usize>) -> Section {
        Section { image: self.image.clone(), range }
    }

    fn read(line: &Line<'_>, program: u64) -> Option<Self> {
        let (image, path) = if line.path == "[vdso]" {
            (Image::Copied(memory(line.start..line.end).ok()?), None)
        } else {
            // The program may have been replaced by a newer one since it was started.
            let is_program = line.inode == program;
            let path = if is_program { "/proc/self/exe" } else { line.path };
            let file = File::open(path).ok()?;
            (file.metadata().ok()?.ino() == line.inode).then_some(())?;
            // SAFETY: read-only and private. Who truncates a library that is in use ends every
            // process that runs it; the system guards the program's own file against that.
            let map = unsafe { Mmap::map(&file) }.ok()?;
            (Image::Mapped(Arc::new(map)), Some(PathBuf::from(path)))
        };
        let file = object::File::parse(&*image).ok()?;
        // Mappings begin and end at whole pages, so that the segments beside it overlap with it.
        let segment = file.segments().find(|segment| {
            let is_code = segment.permissions().executable();
            let (offset, size) = segment.file_range();
            is_code && offset < line.offset + (line.end - line.start) && line.offset < offset + size
        })?;
        let base = line
            .start
            .wrapping_sub(segment.address())
            .wrapping_add(segment.file_range().0)
            .wrapping_sub(line.offset);
        let build_id = file.build_id().ok().flatten().unwrap_or_default();
        let place = |name| Place::of(&file, image.len(), name);
        let (text, eh_frame, eh_frame_hdr) =
            (place(".text"), place(".eh_frame"), place(".eh_frame_hdr"));
        let shown = line.path.trim_end_matches(" (deleted)").to_owned();
        let mapping = Mapping {
            start: line.start,
            limit: line.end,
            offset: line.offset,
            file: shown,
            build_id: hex(build_id),
        };
        Some(Self { mapping: Arc::new(mapping), base, path, image, text, eh_frame, eh_frame_hdr })
    }
}

impl Place {
    /// A section of a file of this length.
    fn of(file: &object::File<'_>, length: usize, name: &str) -> Option<Self> {
        let section = file.section_by_name(name)?;
        let (offset, size) = section.file_range()?;
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(usize::try_from(size).ok()?)?;
        (end <= length).then(|| Self {
            address: section.address()..section.address() + section.size(),
            file: offset..end,
        })
    }
}

impl<'a> Line<'a> {
    /// A line of code that has a file, or is the kernel's.
    fn parse(line: &'a str) -> Option<Self> {
        // start-end permissions offset device inode path
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        fields.next()?.contains('x').then_some(())?;
        let (offset, _device, rest) = (fields.next()?, fields.next()?, fields);
        let rest: Vec<_> = rest.collect();
        let (inode, path) = (rest.first()?, rest.get(1)?.trim_start());
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let inode = inode.parse().ok()?;
        (inode != 0 || path == "[vdso]").then_some(())?;
        Some(Self { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, inode, path })
    }
}

impl Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl Deref for Section {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // In range: checked when the place was made.
        self.image.get(self.range.clone()).unwrap_or_default()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |digit: u8| char::from_digit(digit.into(), 16);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

/// A piece of this process' memory, read as a file: it cannot fault.
fn memory(range: Range<u64>) -> io::Result<Arc<[u8]>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    File::open(Path::new("/proc/self/mem"))?.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_the_c_library_and_the_vdso_are_there() {
        let modules = Module::all().expect("readable");
        let of = |address: usize| modules.iter().find(|module| module.contains(address as u64));
        let own = of(Module::all as *const () as usize).expect("this program");
        assert_eq!(
            own.mapping.file,
            std::env::current_exe().expect("a path").to_str().expect("text")
        );
        assert!(own.eh_frame.is_some() && own.eh_frame_hdr.is_some() && own.text.is_some());
        let text = own.text.as_ref().expect("text");
        let here = Module::all as *const () as u64 - own.base;
        assert!(text.address.contains(&here), "{here:x} {text:?}");
        let library = of(libc::getpid as *const () as usize).expect("the C library");
        assert!(!library.mapping.build_id.is_empty(), "{library:?}");
        assert!(modules.iter().any(|module| module.path.is_none()), "the vDSO");
    }

    #[test]
    fn lines_that_are_no_code_are_left_out() {
        let code = "7f00-7f08 r-xp 00002000 fe:00 42     /usr/lib/a b.so";
        let line = Line::parse(code).expect("code");
        assert_eq!((line.start, line.end, line.offset), (0x7f00, 0x7f08, 0x2000));
        assert_eq!((line.inode, line.path), (42, "/usr/lib/a b.so"));
        for other in [
            "7f00-7f08 rw-p 00002000 fe:00 42     /usr/lib/a.so",
            "7f00-7f08 r-xp 00000000 00:00 0 ",
            "7f00-7f08 r-xp 00000000 00:00 0      [vsyscall]",
            "",
        ] {
            assert!(Line::parse(other).is_none(), "{other}");
        }
    }
}
