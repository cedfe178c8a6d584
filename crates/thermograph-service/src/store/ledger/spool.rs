//! Rows that wait on the disk while the database is away.
//!
//! A record is a line: a checksum, how many rows, the rows as JSON; it is on the disk before the next
//! one is begun. A file is its writer's or its reader's, who holds a lock on it, so that processes
//! can share a folder: what one leaves behind, another writes to the database. What was written twice
//! does no harm, since rows have ids.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use twox_hash::XxHash3_64;

use super::{Entry, Meters};
use crate::store::{StoreConfig, StoreError};

/// Files end so.
const ENDING: &str = "rows";
/// A file that has grown to this is followed by another, so that what was read can be removed.
const FILE: u64 = 8 << 20;
/// How often others' files are looked for.
const LOOK: Duration = Duration::from_secs(30);

/// The folder, and the files in it that are in use.
pub(super) struct Spool {
    folder: PathBuf,
    limit: u64,
    /// Bytes of all files, as far as is known.
    bytes: u64,
    writing: Option<Writing>,
    reading: Option<Reading>,
    /// When the folder is to be looked into again.
    look_at: Instant,
    meters: Meters,
}

/// Rows that wait.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) rows: u64,
    pub(super) json: String,
}

struct Writing {
    file: File,
    length: u64,
}

struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    /// The record that was read, and is not done yet.
    record: Option<Record>,
}

impl Spool {
    /// Makes the folder where it is not there; blocks, as all of this does.
    pub(super) fn open(config: &StoreConfig, meters: Meters) -> Result<Self, StoreError> {
        let mut spool = Self {
            folder: config.spool.clone(),
            limit: config.spool_limit.as_u64(),
            bytes: 0,
            writing: None,
            reading: None,
            look_at: Instant::now(),
            meters,
        };
        let opened = fs::create_dir_all(&spool.folder).and_then(|()| {
            // Said now, and not when rows have nowhere to go.
            let (path, file) = spool.create()?;
            // While it is locked: no one else removes it.
            fs::remove_file(path)?;
            drop(file);
            spool.count()
        });
        match opened {
            Ok(()) => Ok(spool),
            Err(why) => Err(StoreError::Spool { folder: spool.folder.display().to_string(), why }),
        }
    }

    /// Puts rows to the others, on the disk; false: there is no room for them.
    pub(super) fn append(&mut self, rows: u64, json: &str) -> io::Result<bool> {
        let checksum = XxHash3_64::oneshot(json.as_bytes());
        let line = format!("{checksum:016x} {rows} {json}\n");
        let length = line.len() as u64;
        if self.bytes + length > self.limit {
            return Ok(false);
        }
        let mut writing = match self.writing.take() {
            Some(writing) if writing.length < FILE => writing,
            _ => Writing { file: self.create()?.1, length: 0 },
        };
        let written =
            writing.file.write_all(line.as_bytes()).and_then(|()| writing.file.sync_data());
        if let Err(error) = written {
            // Half a line would spoil the next one; and if that cannot be mended, the next one goes
            // to another file.
            writing.file.set_len(writing.length)?;
            return Err(error);
        }
        writing.length += length;
        self.writing = Some(writing);
        self.bytes += length;
        self.meters.spooled.increment(rows);
        self.show();
        // It is to be read when the database is back.
        self.look_at = Instant::now();
        Ok(true)
    }

    /// The next rows to write, the oldest first; the same again until they are [done](Self::done).
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if self.reading.is_none() && !self.take_up()? {
                return Ok(None);
            }
            let Some(reading) = &mut self.reading else { return Ok(None) };
            if reading.record.is_none() {
                reading.record = reading.read(&self.meters)?;
            }
            if let Some(record) = &reading.record {
                return Ok(Some(record.clone()));
            }
            // It is at its end.
            fs::remove_file(&reading.path)?;
            self.bytes = self.bytes.saturating_sub(reading.length);
            self.reading = None;
            self.show();
        }
    }

    /// The rows that were read last are in the database.
    pub(super) fn done(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.record = None;
        }
    }

    /// Opens the oldest file that is nobody's; false: there is none.
    fn take_up(&mut self) -> io::Result<bool> {
        if Instant::now() < self.look_at {
            return Ok(false);
        }
        // One's own is read as any other.
        self.writing = None;
        self.count()?;
        for path in self.files()? {
            // Whoever had it may have removed it.
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
            if file.try_lock().is_err() || !path.exists() {
                continue;
            }
            let length = file.metadata()?.len();
            self.reading = Some(Reading { path, file: BufReader::new(file), length, record: None });
            return Ok(true);
        }
        self.look_at = Instant::now() + LOOK;
        Ok(false)
    }

    /// A file of our own. Its name is later than those before it.
    fn create(&self) -> io::Result<(PathBuf, File)> {
        loop {
            // Nanoseconds: files of one millisecond have their order, too. Chance tells processes apart.
            let (nanos, chance) = (jiff::Timestamp::now().as_nanosecond(), fastrand::u64(..));
            let path = self.folder.join(format!("{nanos:020}-{chance:016x}.{ENDING}"));
            let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
            file.lock()?;
            // Whoever looked before it was locked has found it empty, and may have removed it.
            if path.exists() {
                return Ok((path, file));
            }
        }
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| path.extension() == Some(OsStr::new(ENDING)));
        files.sort_unstable();
        Ok(files)
    }

    fn count(&mut self) -> io::Result<()> {
        // One that is gone by now has no size.
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.bytes = self.files()?.iter().map(size).sum();
        self.show();
        Ok(())
    }

    fn show(&self) {
        self.meters.spool.set(self.bytes as f64);
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Reading {
    /// The next record that is whole; none at the end.
    fn read(&mut self, meters: &Meters) -> io::Result<Option<Record>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.file.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if let Some(record) = Record::parse(&line) {
                return Ok(Some(record));
            }
            meters.torn.increment(1);
            let file = self.path.display();
            tracing::warn!(%file, bytes = line.len(), "rows that were half written are left out");
        }
    }
}

impl Record {
    /// Its rows, as this version or an earlier one has written them.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, serde_json::Error> {
        serde_json::from_str(&self.json)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let (checksum, rest) = line.split_once(' ')?;
        let (rows, json) = rest.split_once(' ')?;
        let is_whole =
            u64::from_str_radix(checksum, 16).ok()? == XxHash3_64::oneshot(json.as_bytes());
        let rows = rows.parse().ok()?;
        is_whole.then(|| Self { rows, json: json.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    fn spool(folder: &Path, limit: u64) -> Spool {
        let (spool, spool_limit) = (folder.to_owned(), ByteSize(limit));
        let config = StoreConfig { spool, spool_limit, ..StoreConfig::default() };
        Spool::open(&config, Meters::new(&config)).expect("opened")
    }

    fn all(spool: &mut Spool) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(record) = spool.next().expect("read") {
            assert_eq!(spool.next().expect("read"), Some(record.clone()));
            all.push(record.json);
            spool.done();
        }
        all
    }

    #[test]
    fn what_one_leaves_behind_another_reads_in_order_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut first = spool(folder.path(), 1 << 20);
        for json in ["[1]", "[2]"] {
            assert!(first.append(1, json).expect("written"));
        }
        let mut second = spool(folder.path(), 1 << 20);
        assert_eq!(all(&mut second), [""; 0], "it is the first one's");
        assert!(second.append(1, "[3]").expect("written"));
        drop(first);
        assert_eq!(all(&mut second), ["[1]", "[2]", "[3]"]);
        assert_eq!((second.bytes, second.files().expect("files").len()), (0, 0));
        assert!(second.append(1, "[4]").expect("written"));
        assert_eq!(all(&mut second), ["[4]"]);
    }

    #[test]
    fn instances_that_share_a_folder_remove_no_file_of_each_other() {
        const ROWS: usize = 300;
        let folder = tempfile::tempdir().expect("a folder");
        let mut reader = spool(folder.path(), 1 << 20);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..ROWS {
                    assert!(spool(folder.path(), 1 << 20).append(1, "[1]").expect("written"));
                }
            });
            let mut read = 0;
            while !writer.is_finished() {
                reader.look_at = Instant::now();
                read += all(&mut reader).len();
            }
            writer.join().expect("no panic");
            reader.look_at = Instant::now();
            read += all(&mut reader).len();
            assert_eq!(read, ROWS);
        });
    }

    #[test]
    fn a_torn_line_is_left_out_and_the_rest_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = spool(folder.path(), 1 << 20);
        for json in ["[1]", "[2]", "[3]"] {
            assert!(writer.append(1, json).expect("written"));
        }
        let file = writer.files().expect("files").remove(0);
        drop(writer);
        let text = fs::read_to_string(&file).expect("text");
        let torn = text.replace("[2]", "[4]");
        fs::write(&file, &torn[..torn.len() - 2]).expect("written");
        let mut reader = spool(folder.path(), 1 << 20);
        assert_eq!(all(&mut reader), ["[1]"]);
        assert_eq!(reader.files().expect("files").len(), 0);
    }

    #[test]
    fn it_takes_no_more_than_it_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut full = spool(folder.path(), 50);
        let took: Vec<_> = (0..4).map(|_| full.append(1, "[1]").expect("written")).collect();
        assert_eq!(took, [true, true, false, false]);
        assert_eq!(all(&mut full).len(), 2);
        assert!(full.append(1, "[1]").expect("written"));
    }
}
