//! Where captures are kept: files by the capture's [`Name`], in the folders `profiles` and
//! `flamegraphs`.
//!
//! To take a capture is for [`capture`](super::capture); this writes, lists, reads and deletes what
//! was taken. All of it reads and writes files: not for a worker, nor for the door's own thread.

mod decode;
mod difference;
mod folder;
mod forms;
mod name;
mod unsaved;

use std::path::PathBuf;

use thiserror::Error;

pub use self::{
    decode::{Undecodable, decode},
    difference::{Incomparable, Side, draw_difference},
    folder::{Entry, Folder, Form, parse},
    forms::Forms,
    name::{BadName, Kind, Name},
    unsaved::{Capture, Unsaved},
};

pub use self::{folder::write, name::slug};

/// Why a capture was not kept, found or read.
#[derive(Debug, Error)]
pub enum CapturesError {
    #[error("there is no capture {0}")]
    NotFound(String),
    #[error(
        "{folder} holds {there} captures, and diagnostics.max_captures allows {max}: delete some, \
         or set it higher", folder = .folder.display()
    )]
    Full { folder: PathBuf, there: usize, max: usize },
    #[error("cannot write {path}: {error}", path = .path.display())]
    Unwritable { path: PathBuf, error: std::io::Error },
    #[error("cannot read {path}: {error}", path = .path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{path} is too long: {max} bytes are allowed", path = .path.display())]
    TooLong { path: PathBuf, max: u64 },
    #[error("cannot read {path}: {error}", path = .path.display())]
    Undecodable { path: PathBuf, error: Undecodable },
}
