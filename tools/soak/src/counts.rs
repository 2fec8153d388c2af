//! Control events of clients, and the ends of their streams.

use std::ops::AddAssign;

use serde::Serialize;

/// What happened to one client, or to all clients of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Number of `gap` events: events are no longer in the log.
    pub gaps: u64,
    /// Number of `overloaded` events: come back later.
    pub overloaded: u64,
    /// Number of `shutdown` events: the node is draining.
    pub shutdowns: u64,
    /// Number of `superseded` events: another connection has the session.
    pub superseded: u64,
    /// Blocks that clients parse differently: without data, or without an `id:` although there is a cursor.
    pub misread: u64,
    /// Streams that ended cleanly, with the last chunk, before the run was over.
    pub ended: u64,
    /// Streams that broke.
    pub broken: u64,
    /// Connection attempts without a response.
    pub failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { gaps, overloaded, shutdowns, superseded, misread, ended, broken, failed } = other;
        self.gaps += gaps;
        self.overloaded += overloaded;
        self.shutdowns += shutdowns;
        self.superseded += superseded;
        self.misread += misread;
        self.ended += ended;
        self.broken += broken;
        self.failed += failed;
    }
}
