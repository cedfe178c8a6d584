//! Storage of captures: files by the capture's [`Name`], in the folders `profiles` and
//! `flamegraphs`.
//!
//! It does not take captures; it writes, lists, reads and deletes those that were taken. All of it
//! reads and writes files: not for a worker of a runtime.

mod decode;
mod difference;
mod folder;
mod forms;
mod name;
mod unsaved;

use std::path::PathBuf;

use thiserror::Error;

use self::unsaved::Unsaved;

pub use self::{
    decode::{Undecodable, decode},
    difference::{Incomparable, Side, draw_difference},
    folder::{Entry, Folder, Form, parse, write},
    forms::Forms,
    name::{BadName, Kind, Name, slug},
    unsaved::Capture,
};

/// The reason why a capture was not kept, found, read or removed.
#[derive(Debug, Error)]
pub enum CapturesError {
    /// No capture has this name, or it is not kept in the requested form.
    #[error("there is no capture {0}")]
    NotFound(String),
    /// The folder holds as many captures as the configuration allows.
    #[error(
        "{folder} holds {there} captures, and diagnostics.max_captures allows {max}: delete some, \
         or set it higher", folder = .folder.display()
    )]
    Full {
        /// Absolute path of the folder.
        folder: PathBuf,
        /// Number of captures that are in it.
        there: usize,
        /// Number of captures that are allowed.
        max: usize,
    },
    /// The system refused to create, write, rename or remove a file or its folder.
    #[error("cannot write {path}: {error}", path = .path.display())]
    Unwritable {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the system.
        error: std::io::Error,
    },
    /// The system refused to read a file, or to list a folder.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Unreadable {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the system.
        error: std::io::Error,
    },
    /// The file is longer than the limit up to which files are read.
    #[error("{path} is too long: {max} bytes are allowed", path = .path.display())]
    TooLong {
        /// Path of the file.
        path: PathBuf,
        /// Limit in bytes.
        max: u64,
    },
    /// The file was read, but holds no profile.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Undecodable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the decoder.
        error: Undecodable,
    },
}
