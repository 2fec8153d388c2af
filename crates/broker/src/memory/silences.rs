//! Silences in which the connections of sessions were lost, as in `release.lua`.

use std::time::Duration;

use fanfare_protocol::{SessionId, User};
use indexmap::IndexMap;

use super::channel::millis;

/// The most sessions of a user whose silences are recorded.
const MOST: usize = 32;
/// Time for which the silence of a single connection is remembered at most, in milliseconds.
const SINGLE: u64 = 600_000;

/// The silences of all users' sessions.
#[derive(Debug, Default)]
pub(super) struct Silences {
    /// Time for which a silence is remembered, in milliseconds.
    memory: u64,
    users: IndexMap<User, Lost>,
}

/// The lost connections of one user's sessions.
#[derive(Debug, Default)]
struct Lost {
    sessions: IndexMap<SessionId, Silence>,
    /// When all are forgotten, in Unix milliseconds.
    till: u64,
}

/// The lost connections of one session. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    /// After which two connections were lost; 0 if it is unknown.
    known: u64,
    /// How long the connection that was lost last had been silent; 0 if its client came back without a cursor.
    last: u64,
    /// When the later one of the two, or the first one, was lost; Unix time.
    at: u64,
    /// The epoch of the claim whose connection was lost last.
    epoch: u64,
}

impl Silences {
    pub(super) fn new(memory: Duration) -> Self {
        Self { memory: millis(memory), users: IndexMap::default() }
    }

    /// Returns the silence in which the session's connections are lost. A client without a cursor did not lose its last one.
    pub(super) fn recall(
        &mut self,
        (user, session): (&User, SessionId),
        resumes: bool,
        now: u64,
    ) -> Option<Duration> {
        let lost = self.users.get_mut(user).filter(|lost| lost.till > now)?;
        let silence = lost.sessions.get_mut(&session)?;
        if !resumes {
            silence.last = 0;
        }
        let Silence { known, at, .. } = *silence;
        if !resumes && known == 0 {
            lost.sessions.swap_remove(&session);
        }
        (known > 0 && now.saturating_sub(at) < self.memory).then(|| Duration::from_millis(known))
    }

    /// Records that a connection was lost in silence. The call may be repeated.
    pub(super) fn record(
        &mut self,
        (user, session, epoch): (&User, SessionId, u64),
        silence: Duration,
        now: u64,
    ) {
        self.users.retain(|_, lost| lost.till > now);
        let lost = self.users.entry(user.clone()).or_default();
        let before = lost.sessions.get(&session).copied().unwrap_or_default();
        if before.epoch == epoch {
            return;
        }
        let last = millis(silence);
        let mut after = Silence { last, epoch, ..before };
        if is_alike(last, before.last) || is_alike(last, before.known) {
            (after.known, after.at) = (last, now);
        } else if before.known == 0 {
            after.at = now;
        }
        if lost.sessions.len() >= MOST && !lost.sessions.contains_key(&session) {
            let oldest = lost.sessions.iter().min_by_key(|(_, silence)| silence.at).map(|(id, _)| *id);
            oldest.map(|oldest| lost.sessions.swap_remove(&oldest));
        }
        lost.sessions.insert(session, after);
        let kept = if after.known > 0 { self.memory.saturating_mul(2) } else { self.memory.min(SINGLE) };
        lost.till = lost.till.max(now.saturating_add(kept));
    }
}

/// Returns whether two connections were lost in silences of about the same length.
fn is_alike(one: u64, other: u64) -> bool {
    one.min(other).saturating_mul(10) >= one.max(other).saturating_mul(9)
}
