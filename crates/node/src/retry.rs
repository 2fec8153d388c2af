//! The `retry:` (reconnection time) of a client (WHATWG HTML, section 9.2).

use std::time::Duration;

/// Minimum `retry:` of a draining node's client.
pub(crate) const LEAVE_RETRY: Duration = Duration::from_millis(100);

/// Returns `least` plus a random part of `spread`, in milliseconds, so that clients that were disconnected together
/// do not reconnect together.
pub(crate) fn jittered_ms(least: Duration, spread: Duration) -> u64 {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ms(least).saturating_add(fastrand::u64(0..=ms(spread)))
}
