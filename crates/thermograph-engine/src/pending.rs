//! Inputs that wait for a batch.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Config, request::Request};

/// A tokenized input.
pub(super) struct Entry {
    pub(super) request: Arc<Request>,
    /// Place of the input in its request.
    pub(super) index: usize,
    pub(super) ids: Vec<u32>,
    /// True if the model reads only the beginning of the input.
    pub(super) truncated: bool,
    /// Time that its tokenizing took.
    pub(super) tokenize: Duration,
}

/// Inputs of one batch are at most twice as long as each other, and this many tokens more: what
/// is short costs little, and a batch of its own costs something too.
const CHEAP_PADDING: usize = 16;

/// Inputs that wait, by turns: a request of many inputs has its first ones in the turn that is on,
/// the next ones a turn later, and so on, so that a small request never waits for all of a large one.
pub(super) struct Pending {
    entries: VecDeque<(Turn, Entry)>,
    /// The turn of the newest batch.
    now: Turn,
    most_inputs: usize,
    most_tokens: usize,
}

/// When an input is to be in a batch; those of one turn go in the order in which they came.
type Turn = usize;

impl Pending {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            entries: VecDeque::new(),
            now: 0,
            most_inputs: config.batch_inputs,
            most_tokens: config.batch_tokens,
        }
    }

    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        let (now, most) = (self.now, self.most_inputs);
        self.entries.extend(entries.into_iter().map(|entry| (now + entry.index / most, entry)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a batch could be full.
    pub(super) fn is_plenty(&self) -> bool {
        self.entries.len() >= self.most_inputs
    }

    /// The request that came first of those that wait.
    pub(super) fn first(&self) -> Option<&Arc<Request>> {
        self.entries.front().map(|(_, entry)| &entry.request)
    }

    /// Takes out the inputs whose clients have left; how many there were.
    pub(super) fn drop_left(&mut self) -> usize {
        let before = self.entries.len();
        self.entries.retain(|(_, entry)| !entry.request.has_left());
        before - self.entries.len()
    }

    /// Takes a batch: the input whose turn it is, and those nearest to it in length, so that
    /// nobody waits for ever and little is padding.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        let waiting: Vec<_> =
            self.entries.iter().map(|(turn, entry)| (*turn, entry.ids.len())).collect();
        let mut chosen = choose(&waiting, self.most_inputs, self.most_tokens);
        self.now = chosen.first().map_or(self.now, |first| self.now.max(waiting[*first].0));
        // From the back, so that the places of the others stay what they are.
        chosen.sort_unstable_by(|a, b| b.cmp(a));
        let taken = chosen.into_iter().filter_map(|place| self.entries.remove(place));
        taken.map(|(_, entry)| entry).collect()
    }
}

/// Places of the batch's inputs, by the turns and lengths of those that wait; the one whose turn it
/// is comes first.
fn choose(waiting: &[(Turn, usize)], most_inputs: usize, most_tokens: usize) -> Vec<usize> {
    let Some((_, head)) = waiting.iter().min_by_key(|(turn, _)| *turn) else { return Vec::new() };
    let mut order: Vec<usize> = (0..waiting.len()).collect();
    order.sort_by_key(|place| {
        let (turn, length) = waiting[*place];
        (length.abs_diff(*head), turn, *place)
    });
    let (mut shortest, mut longest) = (*head, *head);
    let mut fits = |count: usize, length: usize| {
        (shortest, longest) = (shortest.min(length), longest.max(length));
        longest * count <= most_tokens && longest <= 2 * shortest + CHEAP_PADDING
    };
    let taken = order.iter().take(most_inputs).enumerate();
    let count = taken
        .take_while(|(before, place)| fits(before + 1, waiting[**place].1) || *before == 0)
        .count();
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs of these lengths, all of one turn.
    fn of_one_turn(lengths: &[usize]) -> Vec<(Turn, usize)> {
        lengths.iter().map(|length| (0, *length)).collect()
    }

    #[test]
    fn the_first_goes_with_those_of_its_length() {
        let waiting = of_one_turn(&[10, 200, 11, 9, 190, 10]);
        assert_eq!(choose(&waiting, 4, 4096), [0, 5, 2, 3]);
        assert_eq!(choose(&waiting[1..], 4, 4096), [0, 3]);
    }

    #[test]
    fn a_small_request_goes_before_the_rest_of_a_large_one() {
        // A large one in its third turn and later, then a small one that came meanwhile.
        let waiting = [(3, 200), (3, 200), (4, 200), (2, 10), (2, 200)];
        assert_eq!(choose(&waiting, 32, 4096), [3]);
        assert_eq!(choose(&[(3, 200), (3, 200), (2, 200)], 2, 4096), [2, 0]);
    }

    #[test]
    fn a_batch_keeps_its_bounds() {
        assert_eq!(choose(&of_one_turn(&[10; 50]), 32, 4096).len(), 32);
        assert_eq!(choose(&of_one_turn(&[100; 50]), 32, 1000).len(), 10);
        // One that is too long for any batch still goes, alone.
        assert_eq!(choose(&of_one_turn(&[5000, 5000]), 32, 4096), [0]);
        assert!(choose(&[], 32, 4096).is_empty());
    }
}
