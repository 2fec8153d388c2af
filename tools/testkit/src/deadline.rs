//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for what should come at once. Only a test that fails waits so long.
pub const SOON: Duration = Duration::from_secs(20);

/// How long between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks again and again until `probe` succeeds, and gives back what it found.
///
/// # Panics
///
/// When it did not within `limit`; the message has the last failure.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(why) if Instant::now() >= end => panic!("not within {limit:?}: {what}; last: {why}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

/// [`until`] for a condition.
///
/// # Panics
///
/// When it does not hold within [`SOON`].
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, SOON, async || if condition().await { Ok(()) } else { Err("the condition does not hold") })
        .await;
}

/// [`until`] for a value that must become another.
///
/// # Panics
///
/// When it did not within [`SOON`].
pub async fn becomes<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: T,
    mut probe: impl AsyncFnMut() -> T,
) {
    until(what, SOON, async || {
        let found = probe().await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_looks_until_the_condition_holds() {
        let mut looks = 0;
        becomes("three looks", 3, async || {
            looks += 1;
            looks
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s: the moon; last: still no moon")]
    async fn it_says_what_it_waited_for_and_what_it_saw() {
        until("the moon", Duration::from_secs(1), async || Err::<(), _>("still no moon")).await;
    }
}
