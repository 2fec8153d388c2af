//! Rate limits of log events by who causes them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Throttle;

/// A [`Throttle`] of events for each key. Keys beyond a number share one, so memory and the rate of all keys are bounded.
#[derive(Debug)]
pub struct Throttles<K> {
    most: usize,
    own: Mutex<HashMap<K, Throttle>>,
    shared: Throttle,
}

impl<K: Eq + Hash> Throttles<K> {
    /// Creates throttles for `most` keys.
    pub fn new(most: usize) -> Self {
        Self { most, own: Mutex::default(), shared: Throttle::of_events() }
    }

    /// Returns `Some` if the key's event may be logged, with the number of events suppressed since the last one. A key that
    /// shares its throttle with others shares the number, too.
    pub fn admit(&self, key: K) -> Option<u64> {
        let mut own = self.own();
        if own.len() >= self.most && !own.contains_key(&key) {
            return self.shared.admit();
        }
        own.entry(key).or_insert_with(Throttle::of_events).admit()
    }

    /// Forgets the keys that caused no event for a while. Returns those with suppressed events that no later event told, and
    /// their number; `None` stands for the keys that share a throttle.
    pub fn forget(&self) -> Vec<(Option<K>, u64)> {
        self.forget_if(Throttle::is_whole)
    }

    /// Forgets all keys, as [`Throttles::forget`].
    pub fn forget_all(&self) -> Vec<(Option<K>, u64)> {
        self.forget_if(|_| true)
    }

    fn forget_if(&self, is_over: impl Fn(&Throttle) -> bool) -> Vec<(Option<K>, u64)> {
        let shared = is_over(&self.shared).then(|| (None, self.shared.take_held_back()));
        let mut own = self.own();
        let over = own.extract_if(|_, throttle| is_over(throttle));
        let over = over.map(|(key, throttle)| (Some(key), throttle.take_held_back()));
        over.chain(shared).filter(|(_, held_back)| *held_back > 0).collect()
    }

    fn own(&self) -> MutexGuard<'_, HashMap<K, Throttle>> {
        // Each change leaves a consistent state.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_rate_and_what_was_suppressed_is_told_once() {
        let throttles = Throttles::new(2);
        let admitted = |key: &'static str| (0..100).filter_map(|_| throttles.admit(key)).count();
        assert_eq!((admitted("eve"), admitted("bob")), (10, 10));
        assert_eq!((admitted("ann"), admitted("joe")), (10, 0), "keys beyond the number share one");
        assert_eq!(throttles.forget(), []);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throttles.admit("eve"), Some(90));
        tokio::time::advance(Duration::from_secs(20)).await;
        let mut told = throttles.forget();
        told.sort_unstable();
        assert_eq!(told, [(None, 190), (Some("bob"), 90)]);
        assert_eq!((throttles.forget(), throttles.own().len()), (Vec::new(), 0));
        assert_eq!(admitted("eve"), 10);
        assert_eq!(throttles.forget_all(), [(Some("eve"), 90)], "at the end");
    }
}
