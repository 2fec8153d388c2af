//! The live topics of channels, which carry events as they are appended.

use std::fmt;

use crate::NodeId;
use crate::subscriber::{SubscriberConnection, SubscriberSink};

/// The live topics of all channels, and the control topics of nodes.
pub trait LiveTopics: fmt::Debug + Send + Sync + 'static {
    /// Opens a subscriber connection, which is also subscribed to the node's control topic. Never fails: it
    /// reconnects until it is closed.
    fn open_subscriber(&self, node: &NodeId, sink: SubscriberSink) -> SubscriberConnection;
}
