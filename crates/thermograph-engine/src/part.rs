//! Parts of a batch, each a rectangle of token ids.

/// Inputs that go through the model together, made as long as the longest of them.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    /// Places of the inputs in their batch.
    places: Vec<usize>,
    width: usize,
    ids: Vec<i32>,
    /// 1 where there is a token, 0 where there is padding.
    mask: Vec<i32>,
}

impl Part {
    /// A batch as one part.
    pub(super) fn of(batch: &[&[u32]]) -> Self {
        Self::new(batch, (0..batch.len()).collect())
    }

    /// A batch as `count` parts or fewer, of inputs that are near to each other in length.
    pub(super) fn divide(batch: &[&[u32]], count: usize) -> Vec<Self> {
        let mut order: Vec<_> = (0..batch.len()).collect();
        order.sort_by_key(|place| batch[*place].len());
        let size = batch.len().div_ceil(count.max(1)).max(1);
        order.chunks(size).map(|places| Self::new(batch, places.to_vec())).collect()
    }

    fn new(batch: &[&[u32]], places: Vec<usize>) -> Self {
        let width = places.iter().map(|place| batch[*place].len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(places.len() * width);
        let mut mask = Vec::with_capacity(places.len() * width);
        for row in places.iter().map(|place| batch[*place]) {
            ids.extend(row.iter().map(|id| id.cast_signed()));
            mask.resize(mask.len() + row.len(), 1);
            ids.resize(ids.len() + width - row.len(), 0);
            mask.resize(mask.len() + width - row.len(), 0);
        }
        Self { places, width, ids, mask }
    }

    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.places.len(), self.width]
    }

    /// Tokens, padding included.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> &[i32] {
        &self.ids
    }

    pub(super) fn mask(&self) -> &[i32] {
        &self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_inputs_of_one_length() {
        let batch: [&[u32]; 4] = [&[1, 2, 3], &[4], &[5, 6, 7], &[8]];
        let parts = Part::divide(&batch, 2);
        let (short, long) = (&parts[0], &parts[1]);
        assert_eq!(
            (short.places(), short.shape(), short.ids()),
            (&[1, 3][..], [2, 1], &[4, 8][..])
        );
        assert_eq!((long.places(), long.shape(), long.tokens()), (&[0, 2][..], [2, 3], 6));
        assert_eq!(Part::divide(&batch, 3).len(), 2);
        assert_eq!(Part::divide(&batch, 64).len(), 4);
        assert_eq!(Part::divide(&[], 64), []);
    }

    #[test]
    fn padding_is_not_in_the_mask() {
        let part = Part::of(&[&[1], &[2, 3]]);
        assert_eq!((part.ids(), part.mask()), (&[1, 0, 2, 3][..], &[1, 0, 1, 1][..]));
    }
}
