//! How large events are, and what nodes read of them against what clients received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fanfare_protocol::Channel;

/// Names an event: its channel, and its number there.
pub(crate) type Number = (Channel, u64);

/// What nodes have read of logs.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// How often each event was read.
    pub(crate) times: HashMap<Number, usize>,
    /// The most bytes that several reads of one node might have brought at the same time.
    pub(crate) most_under_way: usize,
}

/// The largest event, in bytes: larger than the queues and pages of a run.
const LARGEST: usize = 5_000;

/// The sizes of a run's events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sizes {
    Small,
    Medium,
    Large,
    Mixed,
}

/// The bytes of a run.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) sizes: Sizes,
    published: HashMap<Number, usize>,
    /// Shared with the twins, which count in it.
    pub(crate) reads: Arc<Mutex<Reads>>,
}

impl Traffic {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { sizes, published: HashMap::new(), reads: Arc::default() }
    }

    /// Returns the size of the next event.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        match self.sizes {
            Sizes::Small => rng.usize(4..60),
            Sizes::Medium => rng.usize(60..1_000),
            Sizes::Large => rng.usize(1_000..LARGEST),
            Sizes::Mixed => match rng.u8(0..40) {
                0 => rng.usize(1_500..LARGEST),
                1..4 => rng.usize(300..1_500),
                4..16 => rng.usize(60..300),
                _ => rng.usize(4..60),
            },
        }
    }

    pub(crate) fn publish(&mut self, number: Number, bytes: usize) {
        self.published.insert(number, bytes);
    }

    /// Returns how many bytes these events have.
    pub(crate) fn delivered<'a>(&self, deliveries: impl Iterator<Item = &'a Number>) -> usize {
        deliveries.map(|number| self.published[number]).sum()
    }

    /// Returns how many bytes were read of logs.
    pub(crate) fn read(&self) -> usize {
        let reads = self.reads.lock().unwrap();
        reads.times.iter().map(|(number, times)| self.published[number] * times).sum()
    }

    /// Returns the most bytes that several reads of one node might have brought at the same time.
    pub(crate) fn most_under_way(&self) -> usize {
        self.reads.lock().unwrap().most_under_way
    }

    /// Returns how many bytes of what was read did not reach a client: events count as often as they were read more
    /// often than they were delivered.
    pub(crate) fn wasted<'a>(&self, deliveries: impl Iterator<Item = &'a Number>) -> usize {
        let mut unused = self.reads.lock().unwrap().times.clone();
        for number in deliveries {
            if let Some(times) = unused.get_mut(number) {
                *times = times.saturating_sub(1);
            }
        }
        unused.iter().map(|(number, times)| self.published[number] * times).sum()
    }
}
