//! The `retry:` that one client is told (WHATWG HTML, section 9.2).

use std::time::Duration;

/// The least that a client is told who is sent to another node.
pub(crate) const LEAVE_RETRY: Duration = Duration::from_millis(100);

/// At least `least`, and a random part of `spread` more, in milliseconds: clients who left together must not come back
/// together.
pub(crate) fn jittered_ms(least: Duration, spread: Duration) -> u64 {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ms(least).saturating_add(fastrand::u64(0..=ms(spread)))
}
