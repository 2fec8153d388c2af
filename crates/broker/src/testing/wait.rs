//! Waiting in virtual time.

use std::time::Duration;

use tokio::time::Instant;

/// Waits in virtual time until a condition holds.
///
/// # Panics
///
/// Panics after ten minutes.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs all tasks that are due, without advancing the time.
pub async fn settle_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
