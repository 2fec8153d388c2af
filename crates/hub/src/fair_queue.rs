//! A fair queue: requesters take turns, however many items each of them has queued.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// A user, or a client without a user, as a hash that clients cannot choose.
pub(crate) type Requester = u64;

/// A fair queue. It keeps no memory for requesters without queued items.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    waiting: HashMap<Requester, VecDeque<T>, RandomState>,
    /// Requesters with queued items, each once, the next one first.
    turns: VecDeque<Requester>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { waiting: HashMap::default(), turns: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn push(&mut self, requester: Requester, item: T) {
        let waiting = self.waiting.entry(requester).or_default();
        if waiting.is_empty() {
            self.turns.push_back(requester);
        }
        waiting.push_back(item);
    }

    /// Returns the first item of the requester whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let requester = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&requester)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&requester);
        } else {
            self.turns.push_back(requester);
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
    fn a_requester_with_many_items_does_not_delay_the_others() {
        let mut queue = FairQueue::default();
        for n in 0..1000 {
            queue.push(1, (1, n));
        }
        queue.push(2, (2, 0));
        queue.push(3, (3, 0));
        queue.push(2, (2, 1));
        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(6).collect();
        assert_eq!(first, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 997);
        assert!(queue.is_empty() && queue.waiting.is_empty());
    }
}
