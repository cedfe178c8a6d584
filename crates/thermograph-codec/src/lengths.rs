//! Lengths that stand before what they count, and are known only after it.

/// The lists and maps that are open.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    /// Where its header goes; none where it is there already.
    header: Option<usize>,
    /// Keys and values so far.
    items: usize,
}

impl Lengths {
    /// A list or map begins at the end of `out`; its header is there already if its length is known.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>, is_known: bool) {
        let header = (!is_known).then_some(out.len());
        if !is_known {
            // A short one has a header of one byte, and does not need to be moved.
            out.push(0);
        }
        self.open.push(Open { header, items: 0 });
    }

    /// A value or a key of the innermost one.
    pub(super) fn item(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.items += 1;
        }
    }

    /// It is over; the place of its header and what it counts, where that is to be written.
    pub(super) fn end(&mut self) -> Option<(usize, usize)> {
        let Open { header, items } = self.open.pop()?;
        Some((header?, items))
    }
}

/// Puts a header where a byte was kept for it.
pub(super) fn put(out: &mut Vec<u8>, at: usize, header: &[u8]) {
    out.splice(at..=at, header.iter().copied());
}
