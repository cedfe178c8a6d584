//! What a reader tells a writer.

use crate::error::Problem;

/// Takes in one value, piece by piece, in the order in which they are written.
pub(super) trait Sink {
    fn null(&mut self) -> Result<(), Problem>;
    fn bool(&mut self, value: bool) -> Result<(), Problem>;
    fn u64(&mut self, value: u64) -> Result<(), Problem>;
    fn i64(&mut self, value: i64) -> Result<(), Problem>;
    fn f64(&mut self, value: f64) -> Result<(), Problem>;
    fn f32(&mut self, value: f32) -> Result<(), Problem>;
    fn text(&mut self, value: &str) -> Result<(), Problem>;
    fn bytes(&mut self, value: &[u8]) -> Result<(), Problem>;
    /// Numbers as short as they can be: packed, or as a list where the codec has nothing shorter.
    fn vector(&mut self, values: &[f32]) -> Result<(), Problem>;
    /// A list of so many values, where that is known.
    fn begin_list(&mut self, length: Option<usize>) -> Result<(), Problem>;
    fn end_list(&mut self) -> Result<(), Problem>;
    /// A map of so many pairs, where that is known.
    fn begin_map(&mut self, length: Option<usize>) -> Result<(), Problem>;
    /// The key of the next value.
    fn key(&mut self, key: &str) -> Result<(), Problem>;
    fn end_map(&mut self) -> Result<(), Problem>;
    /// Bytes written so far.
    fn written(&self) -> usize;

    /// Numbers as a list.
    fn list_of(&mut self, values: &[f32]) -> Result<(), Problem> {
        self.begin_list(Some(values.len()))?;
        values.iter().try_for_each(|value| self.f32(*value))?;
        self.end_list()
    }
}

/// Appends numbers as little-endian bytes.
pub(super) fn pack(values: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + size_of_val(values), 0);
    let (places, _) = out[start..].as_chunks_mut();
    for (place, value) in places.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}
