//! Shared state of the cluster: logs, live topics, sessions, leases, intake.
//!
//! [`Broker`] is the interface. [`redis`] implements it with Redis and is the only code that knows Redis; [`memory`]
//! implements it within one process. Both pass the same contract suite.
//!
//! # Layout
//!
//! In the order in which an event passes through them:
//!
//! - [`broker`]: the trait
//! - [`intake`]: entries of the ingest stream
//! - [`retention`]: how many events, and how old, a log keeps
//! - [`settings`]: settings of both brokers
//! - [`log`]: pages of stored events
//! - [`subscriber`]: the subscriber connection: its events and commands
//! - [`session`]: claims and owners of sessions
//! - [`lease`]: leases of nodes
//! - [`error`]: errors, and whether a retry can help
//! - [`backoff`]: time between retries
//! - [`clock`]: time by the local clock
//! - [`memory`], [`redis`]: the two brokers

pub mod backoff;
pub mod broker;
pub mod clock;
pub mod error;
pub mod intake;
pub mod lease;
pub mod log;
pub mod memory;
pub mod redis;
pub mod retention;
pub mod session;
pub mod settings;
pub mod subscriber;

pub use broker::{Broker, Published};
pub use error::{BrokerError, Condition};
pub use lease::{NodeId, NodeInfo};
pub use memory::MemoryBroker;
pub use redis::{RedisBroker, RedisSettings};
pub use retention::{Retention, RetentionRules};
pub use settings::BrokerSettings;
