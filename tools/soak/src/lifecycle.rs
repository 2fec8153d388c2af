//! Reads the lifecycle events of a run's sessions and users.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamRangeReply, StreamReadReply};
use tokio_util::sync::CancellationToken;

use crate::publish_client;

/// How many entries are read at once.
const PAGE: usize = 1000;
/// How long one read waits for more, in milliseconds. Shorter than what a connection waits for its answer.
const BLOCK: usize = 1000;
/// How long to wait before another connection is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// Number of lifecycle events by name: `user.offline`, `session.moved`, and so on.
pub type LifecycleCounts = BTreeMap<String, u64>;

/// Reads the lifecycle stream from its present end.
#[derive(Debug)]
pub(crate) struct Listener {
    client: redis::Client,
    key: String,
    /// What the names of the users that count begin with.
    users: String,
    /// The last entry read.
    last: String,
    counts: LifecycleCounts,
}

impl Listener {
    /// Begins at the end that the stream has now.
    pub(crate) async fn begin(client: redis::Client, prefix: &str, run: &str) -> redis::RedisResult<Self> {
        let key = format!("{prefix}:lifecycle");
        let mut connection = publish_client::connect(&client).await?;
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&key).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: StreamRangeReply = newest.query_async(&mut connection).await?;
        let last = newest.ids.first().map_or("0-0".to_owned(), |entry| entry.id.clone());
        Ok(Self { client, key, users: format!("{run}-"), last, counts: LifecycleCounts::new() })
    }

    /// Reads until it is stopped, and then to the end.
    pub(crate) async fn listen(mut self, stop: CancellationToken) -> LifecycleCounts {
        let mut connection = None;
        loop {
            let stopping = stop.is_cancelled();
            match self.read(&mut connection).await {
                Ok(0) if stopping => return self.counts,
                Ok(_) => {}
                // Redis may be away: that is what is being tried.
                Err(_) => {
                    connection = None;
                    tokio::time::sleep(PAUSE).await;
                    if stopping {
                        return self.counts;
                    }
                }
            }
        }
    }

    async fn read(&mut self, connection: &mut Option<MultiplexedConnection>) -> redis::RedisResult<usize> {
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(publish_client::connect(&self.client).await?),
        };
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(BLOCK).arg("STREAMS").arg(&self.key).arg(&self.last);
        let reply: Option<StreamReadReply> = read.query_async(connection).await?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        let mut count = 0;
        for entry in entries {
            count += 1;
            let user: Option<String> = entry.get("user");
            if let Some(event) = entry.get::<String>("event")
                && user.is_some_and(|user| user.starts_with(&self.users))
            {
                *self.counts.entry(event).or_default() += 1;
            }
            self.last = entry.id;
        }
        Ok(count)
    }
}
