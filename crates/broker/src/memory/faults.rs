//! What can be done to the memory broker in a simulation: everything that happens to a Redis in its life.

use std::sync::atomic::Ordering;

use fanfare_protocol::wire::Frame;
use fanfare_protocol::{Channel, Entry, Position};

use super::MemoryBroker;

impl MemoryBroker {
    /// Trims a log to its newest `keep` entries.
    pub fn trim(&self, channel: &Channel, keep: usize) {
        if let Some(log) = self.state().channels.get_mut(channel) {
            let drop = log.log.len().saturating_sub(keep);
            log.log.drain(..drop);
        }
    }

    /// Somebody who may publish on the channel's live topic sends an event there that no log has.
    pub fn forge(&self, channel: &Channel, entry: Entry) {
        self.state().wires.message(channel, &Frame::Kept(entry));
    }

    /// The events expire; the last position outlives them.
    pub fn expire(&self, channel: &Channel) {
        self.trim(channel, 0);
    }

    /// Returns a failover to a replica that had not received the newest `n` entries. Answers the positions that are
    /// lost.
    pub fn roll_back(&self, channel: &Channel, n: usize) -> Vec<Position> {
        let mut state = self.state();
        let Some(log) = state.channels.get_mut(channel) else { return Vec::new() };
        let keep = log.log.len().saturating_sub(n);
        let lost = log.log.split_off(keep);
        if let Some(first) = lost.front() {
            log.last = first.previous;
            // That of then is not known any more: an entry may come twice, and none is lost.
            log.mark = None;
        }
        lost.iter().map(|entry| entry.position).collect()
    }

    /// Restarted empty: logs, positions, keys, sessions and leases are gone. Wires stay as they are.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.channels.clear();
        state.cluster = super::Cluster::default();
        state.sessions = super::Sessions::new(self.settings.lifecycle_per_minute);
        state.ingest = super::Ingest::default();
    }

    /// Deletes everything that is kept of one channel, its last position too.
    pub fn forget(&self, channel: &Channel) {
        self.state().channels.shift_remove(channel);
    }

    /// Sets the clock forward, or back if `by_ms` is negative. Positions given later still grow within a log.
    pub fn step_clock(&self, by_ms: i64) {
        let _ = self.epoch_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |epoch| {
            Some(epoch.saturating_add_signed(by_ms))
        });
    }

    /// Sets how far apart the sequence numbers of one millisecond are.
    ///
    /// Two Redis servers give two events one position when both append after the same entry in the same millisecond.
    /// Milliseconds are few in a simulation, and this would happen far more often than it does. With a step of its own
    /// each server gives positions of its own.
    pub fn set_sequence_step(&self, step: u64) {
        self.sequence_step.store(step.max(1), Ordering::Relaxed);
    }

    /// Somebody deletes the ingest stream.
    pub fn delete_ingest(&self) {
        self.state().ingest.delete();
        self.ingested.notify_waiters();
    }

    /// Returns how many entries a log holds.
    pub fn log_len(&self, channel: &Channel) -> usize {
        self.state().channels.get(channel).map_or(0, |log| log.log.len())
    }
}
