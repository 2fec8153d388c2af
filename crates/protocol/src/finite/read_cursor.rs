//! The cursor of a long poll, which keeps a cache between client and node from answering the same request for ever.

/// Milliseconds of an interval.
const INTERVAL_MS: u64 = 20_000;
/// Unix milliseconds at which intervals begin: 2024-10-09T00:00:00Z.
const EPOCH_MS: u64 = 1_728_432_000_000;
/// Maximum number of intervals by which a client's cursor is passed.
pub const MAX_JITTER: u64 = 180;

/// Returns the next cursor: the number of the current interval, or more than the client's if that is not behind it. `jitter`
/// is a random number from 1 to [`MAX_JITTER`].
pub fn next(client: Option<u64>, now_ms: u64, jitter: u64) -> u64 {
    let now = now_ms.saturating_sub(EPOCH_MS) / INTERVAL_MS;
    match client {
        Some(client) if client >= now => client.saturating_add(jitter.clamp(1, MAX_JITTER)),
        _ => now,
    }
}

/// Returns the number of a client's cursor; `None` if it is not one.
pub fn parse(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_greater_than_the_clients() {
        let now = EPOCH_MS + 100 * INTERVAL_MS + 1;
        assert_eq!(next(None, now, 9), 100);
        assert_eq!(next(Some(99), now, 9), 100);
        assert_eq!(next(Some(100), now, 9), 109);
        assert_eq!(next(Some(500), now, 0), 501);
        assert_eq!((parse("17"), parse(""), parse("-1"), parse("1x")), (Some(17), None, None, None));
    }
}
