//! The buckets of one rate, bounded in number.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{fast, quality};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Number of partitions of the buckets, each with its own lock.
const PARTS: usize = 16;

/// Buckets by key. At the maximum number, new keys share one bucket in each partition: a flood from very many keys is
/// limited together, and keys that have a bucket keep it.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    parts: [Mutex<Part<K>>; PARTS],
    /// Seeded at random, so that clients cannot choose their partition. The fast hash would spread keys that are alike
    /// over few partitions with some seeds, and clients would share buckets long before the maximum.
    spread: quality::SeedableRandomState,
    most_in_part: usize,
    /// Number of checks of keys without their own bucket.
    shared: AtomicU64,
}

/// Each bucket is the time at which it is full again, in nanoseconds since the limiter was created.
#[derive(Debug)]
struct Part<K> {
    own: HashMap<K, Nanos, fast::RandomState>,
    shared: Option<Nanos>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// Creates buckets for `most` keys.
    pub(super) fn new(most: usize) -> Self {
        let part = || Mutex::new(Part { own: HashMap::default(), shared: None });
        Self {
            parts: std::array::from_fn(|_| part()),
            spread: quality::SeedableRandomState::random(),
            most_in_part: most.div_ceil(PARTS).max(1),
            shared: AtomicU64::new(0),
        }
    }

    /// Adjusts the time at which a key's bucket is full again.
    pub(super) fn adjust(&self, key: &K, nanos: i64) {
        let mut part = self.part(key);
        let Part { own, shared } = &mut *part;
        if let Some(full) = own.get_mut(key).or(shared.as_mut()) {
            *full = Nanos::new(full.as_u64().saturating_add_signed(nanos));
        }
    }

    /// Returns the number of checks of keys without their own bucket since the last call.
    pub(super) fn take_shared(&self) -> u64 {
        self.shared.swap(0, Ordering::Relaxed)
    }

    fn part(&self, key: &K) -> MutexGuard<'_, Part<K>> {
        lock(&self.parts[self.index(key)])
    }

    fn index(&self, key: &K) -> usize {
        usize::try_from(self.spread.hash_one(key) >> 60).unwrap_or_default() % PARTS
    }
}

fn lock<K>(part: &Mutex<Part<K>>) -> MutexGuard<'_, Part<K>> {
    // Each change leaves a consistent state.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The buckets as the limiter's store.
#[derive(Debug)]
pub(super) struct Store<K>(pub(super) Arc<Buckets<K>>);

impl<K: Clone + Eq + Hash> StateStore for Store<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Self(buckets) = self;
        let mut part = buckets.part(key);
        if let Some(full) = part.own.get_mut(key) {
            let (outcome, next) = measure(Some(*full))?;
            *full = next;
            return Ok(outcome);
        }
        if part.own.len() < buckets.most_in_part {
            let (outcome, next) = measure(None)?;
            part.own.insert(key.clone(), next);
            return Ok(outcome);
        }
        buckets.shared.fetch_add(1, Ordering::Relaxed);
        let (outcome, next) = measure(part.shared)?;
        part.shared = Some(next);
        Ok(outcome)
    }
}

impl<K: Clone + Eq + Hash> ShrinkableKeyedStateStore<K> for Store<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        for part in &self.0.parts {
            let mut part = lock(part);
            part.own.retain(|_, full| *full > drop_below);
            if part.own.len() < part.own.capacity() / 8 {
                let room = part.own.len() * 2;
                part.own.shrink_to(room);
            }
        }
    }

    fn len(&self) -> usize {
        self.0.parts.iter().map(|part| lock(part).own.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_alike_spread_over_all_partitions_with_every_seed() {
        for seed in 0..200 {
            let shared = Box::leak(Box::new(foldhash::SharedSeed::from_u64(seed)));
            let mut buckets: Buckets<u32> = Buckets::new(16);
            buckets.spread = quality::SeedableRandomState::with_seed(seed, shared);
            let mut keys = [0; PARTS];
            for key in 0..1600 {
                keys[buckets.index(&key)] += 1;
            }
            // 100 on average, with a standard deviation of 10.
            assert!(keys.iter().all(|keys| (40..160).contains(keys)), "seed {seed}: {keys:?}");
        }
    }
}
