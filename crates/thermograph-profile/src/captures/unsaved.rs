//! Captures that could not be written, in memory, so that they can be looked at all the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Entry, Form, Forms, Name};

/// The newest captures that could not be written.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    captures: Mutex<VecDeque<Arc<Capture>>>,
}

/// A capture that could not be written and is kept in memory.
#[derive(Debug)]
pub struct Capture {
    name: Name,
    forms: Forms,
    /// The reason why it could not be written.
    pub why: String,
}

impl Unsaved {
    /// Most captures that are kept; the oldest makes room.
    pub(super) const MAX_CAPTURES: usize = 4;
    /// Most bytes of them together; the oldest makes room, but the newest always stays.
    const MAX_BYTES: usize = 64 << 20;

    /// Keeps a capture, under a name that none of the others has.
    pub(super) fn add(&self, mut name: Name, forms: Forms, why: String) -> Name {
        let mut captures = self.captures();
        while captures.iter().any(|capture| capture.name == name) {
            name = name.next();
        }
        captures.push_back(Arc::new(Capture { name: name.clone(), forms, why }));
        while captures.len() > 1
            && (captures.len() > Self::MAX_CAPTURES
                || captures.iter().map(|capture| capture.bytes()).sum::<usize>() > Self::MAX_BYTES)
        {
            captures.pop_front();
        }
        name
    }

    /// Those that are there.
    pub(super) fn all(&self) -> Vec<Arc<Capture>> {
        self.captures().iter().cloned().collect()
    }

    pub(super) fn read(&self, name: &Name, form: Form) -> Option<Vec<u8>> {
        let captures = self.captures();
        let capture = captures.iter().find(|capture| capture.name == *name)?;
        let mut forms = capture.forms.each().into_iter();
        forms.find_map(|(there, bytes)| (there == form).then(|| bytes.to_vec()))
    }

    /// Whether it was there.
    pub(super) fn delete(&self, name: &Name) -> bool {
        let mut captures = self.captures();
        let before = captures.len();
        captures.retain(|capture| capture.name != *name);
        captures.len() < before
    }

    fn captures(&self) -> MutexGuard<'_, VecDeque<Arc<Capture>>> {
        self.captures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// The capture as an entry of a list: it has no files.
    pub fn entry(&self) -> Entry {
        Entry {
            name: self.name.to_string(),
            kind: self.name.kind().name(),
            handler: self.name.handler().map(str::to_owned),
            time: self.name.time(),
            bytes: self.bytes() as u64,
            files: Vec::new(),
        }
    }

    /// File name extensions of the forms that it can be read in, without the dot.
    pub fn endings(&self) -> Vec<&'static str> {
        self.forms.each().iter().map(|(form, _)| form.ending()).collect()
    }

    fn bytes(&self) -> usize {
        self.forms.each().iter().map(|(_, bytes)| bytes.len()).sum()
    }
}
