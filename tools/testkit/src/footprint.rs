//! What connections take up, to be compared before and after.

use std::collections::BTreeMap;

use crate::node::Node;
use crate::redis::Redis;

/// What is there because of connections and sessions, on some nodes and in Redis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footprint {
    /// The nodes' gauges, but those that go up and down by themselves.
    gauges: BTreeMap<String, f64>,
    /// Redis keys that hold sessions and owners.
    keys: Vec<String>,
    /// The topics of channels that are subscribed to.
    live_topics: Vec<String>,
}

impl Footprint {
    /// Looks at all of it.
    pub async fn of(nodes: &[Node], redis: &Redis) -> Self {
        let mut gauges = BTreeMap::new();
        for node in nodes {
            let mut metrics = node.metrics().await.gauges();
            // Dropped a second after the last request; of calls to Redis; of the process, with its connections to Redis.
            let varies = |name: &str| {
                ["fanfare_rate_keys", "fanfare_redis_pool_", "process_"]
                    .iter()
                    .any(|own| name.starts_with(own))
            };
            metrics.retain(|name, _| !varies(name));
            gauges.extend(metrics.into_iter().map(|(name, value)| (format!("{}: {name}", node.id()), value)));
        }
        let keys = redis.keys("fanfare:*sessions").await;
        let mut live_topics: Vec<String> = redis.get(&["PUBSUB", "CHANNELS", "fanfare:{*}:*"]).await;
        live_topics.sort();
        Self { gauges, keys, live_topics }
    }

    /// What differs from another one; empty if nothing.
    pub fn difference(&self, other: &Self) -> String {
        let mut lines = Vec::new();
        for (name, value) in &other.gauges {
            let was = self.gauges.get(name).copied().unwrap_or_default();
            if (was - value).abs() > f64::EPSILON {
                lines.push(format!("{name} {was} → {value}"));
            }
        }
        for (what, was, is) in
            [("keys", &self.keys, &other.keys), ("live topics", &self.live_topics, &other.live_topics)]
        {
            if was != is {
                lines.push(format!("{what} {} → {} {:?}", was.len(), is.len(), &is[..is.len().min(5)]));
            }
        }
        lines.join("; ")
    }
}
