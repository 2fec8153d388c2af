//! What was published, and what of it was accepted.
//!
//! Each channel has one publisher, which sends its events one after another: number 1, then 2 when the outcome of 1 is
//! known. So two numbers say everything of a channel.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one channel.
#[derive(Debug, Default)]
struct Line {
    /// The last number that was sent at least once.
    sent: AtomicU64,
    /// The last number that was accepted.
    accepted: AtomicU64,
}

/// All channels of a run. Written by the publishers, read by everybody.
#[derive(Debug)]
pub struct Ledger {
    lines: Vec<Line>,
    /// How many clients follow each channel.
    followers: Vec<u64>,
    /// How many deliveries the accepted events make.
    due: AtomicU64,
}

impl Ledger {
    /// Channels with so many followers each.
    pub fn new(followers: Vec<u64>) -> Self {
        let lines = followers.iter().map(|_| Line::default()).collect();
        Self { lines, followers, due: AtomicU64::new(0) }
    }

    /// Returns the number of a channel's next event.
    pub fn draw(&self, channel: usize) -> u64 {
        self.lines[channel].sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The channel's last number drawn was accepted.
    pub fn accept(&self, channel: usize) {
        self.lines[channel].accepted.fetch_add(1, Ordering::Relaxed);
        self.due.fetch_add(self.followers[channel], Ordering::Relaxed);
    }

    /// Returns the last number accepted on a channel: each client of it must get 1 to that.
    pub fn accepted(&self, channel: usize) -> u64 {
        self.lines[channel].accepted.load(Ordering::Relaxed)
    }

    /// Returns how many events were accepted on all channels.
    pub fn total(&self) -> u64 {
        self.lines.iter().map(|line| line.accepted.load(Ordering::Relaxed)).sum()
    }

    /// Returns how many events were sent without that their outcome is known.
    pub fn unknown(&self) -> u64 {
        let sent: u64 = self.lines.iter().map(|line| line.sent.load(Ordering::Relaxed)).sum();
        sent - self.total()
    }

    /// Returns how many deliveries are due for what was accepted.
    pub fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }
}
