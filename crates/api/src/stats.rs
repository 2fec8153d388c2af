//! The data of an event on the channel `fanfare:stats`: the figures of one node.

use serde::{Deserialize, Serialize};

/// Type of these events.
pub const STATS_TYPE: &str = "stats";

/// The figures of a node, which it publishes each second. Rates are of the time since the figures before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStats {
    /// Node id.
    pub node: String,
    /// Version of Fanfare.
    pub version: String,
    /// Address, as `host:port`.
    pub address: String,
    /// Start time, in Unix milliseconds.
    pub since: u64,
    /// Whether the node accepts new streams.
    pub ready: bool,
    /// Whether the node is draining.
    pub draining: bool,
    /// Whether the node leads the intake.
    pub intake_leader: bool,
    /// Open streams.
    pub streams: u64,
    /// Maximum number of streams.
    pub max_streams: u64,
    /// Open streams that read the log of a channel.
    pub catching_up: u64,
    /// Channels that the node is subscribed to.
    pub channels: u64,
    /// Streams opened, per second.
    pub opened: f64,
    /// Streams ended, per second.
    pub ended: f64,
    /// Events queued for clients, per second.
    pub events: f64,
    /// Bytes of streams that the sockets accepted, per second.
    pub bytes: f64,
    /// `gap` events sent to clients, per second.
    pub gaps: f64,
    /// Processor time, in processors; `None` where the system does not tell.
    pub cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit of open file descriptors.
    pub max_fds: Option<u64>,
    /// Time in which Redis took the figures before, in milliseconds; `None` for the first.
    pub redis_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_back_and_those_of_other_versions_are_read() {
        let stats = NodeStats { node: "a".into(), events: 1.5, cpu: Some(0.25), ..NodeStats::default() };
        let text = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<NodeStats>(&text).unwrap(), stats);
        let newer = r#"{"node":"b","streams":3,"more":[1]}"#;
        let read: NodeStats = serde_json::from_str(newer).unwrap();
        assert_eq!((&*read.node, read.streams, read.cpu), ("b", 3, None));
    }
}
