//! A fair queue: askers take turns, however many items each of them has queued.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// A user, or a client without a user, as a hash that clients cannot choose.
pub(crate) type Asker = u64;

/// A fair queue. It keeps no memory for askers without queued items.
#[derive(Debug)]
pub(crate) struct Line<T> {
    waiting: HashMap<Asker, VecDeque<T>, RandomState>,
    /// Askers with queued items, each once, the next one first.
    turns: VecDeque<Asker>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: HashMap::default(), turns: VecDeque::new() }
    }
}

impl<T> Line<T> {
    pub(crate) fn push(&mut self, asker: Asker, item: T) {
        let waiting = self.waiting.entry(asker).or_default();
        if waiting.is_empty() {
            self.turns.push_back(asker);
        }
        waiting.push_back(item);
    }

    /// Returns the first item of the asker whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let asker = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&asker)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        item
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_much_does_not_keep_the_others_waiting() {
        let mut line = Line::default();
        for n in 0..1000 {
            line.push(1, (1, n));
        }
        line.push(2, (2, 0));
        line.push(3, (3, 0));
        line.push(2, (2, 1));
        let first: Vec<_> = std::iter::from_fn(|| line.pop()).take(6).collect();
        assert_eq!(first, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(std::iter::from_fn(|| line.pop()).count(), 997);
        assert!(line.is_empty() && line.waiting.is_empty());
    }
}
