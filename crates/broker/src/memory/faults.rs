//! Faults of the memory broker for simulations: everything that can happen to a Redis.

use std::sync::atomic::Ordering;

use fanfare_protocol::wire::Frame;
use fanfare_protocol::{Channel, Entry, Position};

use super::MemoryBroker;
use super::streams::Streams;

/// A copy of all finite streams, as a replica has one.
#[derive(Clone, Debug)]
pub struct StreamsCopy(Streams);

impl MemoryBroker {
    /// Trims a log to its newest `keep` entries.
    pub fn trim(&self, channel: &Channel, keep: usize) {
        if let Some(log) = self.state().channels.get_mut(channel) {
            let drop = log.log.len().saturating_sub(keep);
            log.log.drain(..drop);
        }
    }

    /// Publishes a forged event on the channel's live topic, which is not in the log.
    pub fn forge(&self, channel: &Channel, entry: Entry) {
        self.state().subscribers.message(channel, &Frame::Kept(entry));
    }

    /// Expires all events of a channel, but not its last position.
    pub fn expire(&self, channel: &Channel) {
        self.trim(channel, 0);
    }

    /// Fails over to a replica that had not received the newest `n` entries. Returns the positions that are lost.
    pub fn roll_back(&self, channel: &Channel, n: usize) -> Vec<Position> {
        let mut state = self.state();
        let Some(log) = state.channels.get_mut(channel) else { return Vec::new() };
        let keep = log.log.len().saturating_sub(n);
        let lost = log.log.split_off(keep);
        if let Some(first) = lost.front() {
            log.last = first.previous;
            // The earlier mark is unknown: an entry may be repeated, but none is lost.
            log.mark = None;
        }
        lost.iter().map(|entry| entry.position).collect()
    }

    /// Returns a copy of all finite streams.
    pub fn copy_streams(&self) -> StreamsCopy {
        StreamsCopy(self.state().streams.clone())
    }

    /// Fails over to a replica whose finite streams are those of an earlier copy.
    pub fn fail_over_streams(&self, to: StreamsCopy) {
        self.state().streams.fail_over(to.0);
    }

    /// Restarts empty, without logs, positions, finite streams, keys, sessions and leases. Subscriber connections stay.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.channels.clear();
        state.streams.fail_over(Streams::default());
        state.leases = super::Leases::default();
        state.sessions = super::Sessions::new(&self.settings);
        state.ingest = super::Ingest::default();
        state.revocations = super::Revocations::default();
        state.acks = super::Acks::default();
        state.tickets = super::Tickets::default();
    }

    /// Deletes all state of a channel, including its last position.
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
    /// A simulation has few milliseconds, so this would happen far more often than in reality. With different steps
    /// the servers give different positions.
    pub fn set_sequence_step(&self, step: u64) {
        self.sequence_step.store(step.max(1), Ordering::Relaxed);
    }

    /// Deletes the ingest stream.
    pub fn delete_ingest(&self) {
        self.state().ingest.delete();
        self.ingested.notify_waiters();
    }

    /// Returns the number of entries in a log.
    pub fn log_len(&self, channel: &Channel) -> usize {
        self.state().channels.get(channel).map_or(0, |log| log.log.len())
    }
}
