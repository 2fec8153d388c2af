//! Everything that must outlive a node: logs, live wires, sessions, leases, intake.
//!
//! [`Broker`] is the seam. [`redis`] is the real one and the only code that knows Redis; [`memory`] is its twin in
//! one process. Both pass one contract suite.
//!
//! # Layout
//!
//! In the order an event passes them:
//!
//! - [`broker`]: the trait
//! - [`intake`]: what publishers left in the ingest stream
//! - [`retention`]: how much of a channel is kept
//! - [`settings`]: what both brokers are told
//! - [`log`]: pages of kept events, and where to begin
//! - [`wire`]: what a live wire tells the node
//! - [`session`]: claims and owners
//! - [`lease`]: which nodes are alive
//! - [`error`]: what can go wrong, and whether trying again helps
//! - [`backoff`]: how long to wait before trying again
//! - [`memory`], [`redis`]: the two brokers

pub mod backoff;
pub mod broker;
pub mod error;
pub mod intake;
pub mod lease;
pub mod log;
pub mod memory;
pub mod redis;
pub mod retention;
pub mod session;
pub mod settings;
pub mod wire;

pub use broker::{Broker, Published};
pub use error::{BrokerError, Condition};
pub use lease::{NodeId, NodeInfo};
pub use memory::MemoryBroker;
pub use redis::{RedisBroker, RedisSettings};
pub use retention::{Retention, RetentionRules};
pub use settings::BrokerSettings;
