//! A connection to Redis, and how long to wait for the next one.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};

/// How long Redis may take to connect and to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects. A command fails that has no answer after `block`, for which it waits on purpose, and a little more: that tells
/// of a connection that is dead though nobody closed it.
pub(crate) async fn open(client: &Client, block: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(block + PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The wait after so many failures in a row, from one: 100 ms, doubling up to 5 s.
pub(crate) fn wait(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    Duration::from_millis(100 << doublings).min(Duration::from_secs(5))
}
