//! Published and accepted events.
//!
//! Each channel has one publisher, which sends its events one after another: number 2 when the outcome of number 1 is
//! known. So two numbers describe a channel.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one channel.
#[derive(Debug, Default)]
struct Line {
    /// The last number that was sent at least once.
    sent: AtomicU64,
    /// The last number that was accepted.
    accepted: AtomicU64,
}

/// All channels of a run. Written by the publishers.
#[derive(Debug)]
pub struct Ledger {
    lines: Vec<Line>,
    /// Number of clients that follow each channel.
    followers: Vec<u64>,
    /// Number of deliveries that the accepted events require.
    due: AtomicU64,
}

impl Ledger {
    /// Creates a ledger of channels with these numbers of followers.
    pub fn new(followers: Vec<u64>) -> Self {
        let lines = followers.iter().map(|_| Line::default()).collect();
        Self { lines, followers, due: AtomicU64::new(0) }
    }

    /// Returns the number of a channel's next event.
    pub fn draw(&self, channel: usize) -> u64 {
        self.lines[channel].sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that the channel's last number was accepted.
    pub fn accept(&self, channel: usize) {
        self.lines[channel].accepted.fetch_add(1, Ordering::Relaxed);
        self.due.fetch_add(self.followers[channel], Ordering::Relaxed);
    }

    /// Returns the last accepted number of a channel: each of its clients must receive all numbers from 1 to it.
    pub fn accepted(&self, channel: usize) -> u64 {
        self.lines[channel].accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of accepted events on all channels.
    pub fn total(&self) -> u64 {
        self.lines.iter().map(|line| line.accepted.load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of events whose outcome is unknown.
    pub fn unknown(&self) -> u64 {
        let sent: u64 = self.lines.iter().map(|line| line.sent.load(Ordering::Relaxed)).sum();
        sent - self.total()
    }

    /// Returns the number of deliveries that the accepted events require.
    pub fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }
}
