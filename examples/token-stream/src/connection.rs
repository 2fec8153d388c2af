//! Connecting to Redis, and the delay before a retry.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};

/// Timeout for connecting to Redis and for a reply.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to Redis. A command fails without a reply after `block`, the time for which it blocks on purpose, plus the
/// timeout. This reveals a dead connection that was never closed.
pub(crate) async fn open(client: &Client, block: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(block + PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Returns the delay after this number of consecutive failures (at least one): 100 ms, doubling up to 5 s.
pub(crate) fn wait(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    Duration::from_millis(100 << doublings).min(Duration::from_secs(5))
}
