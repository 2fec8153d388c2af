//! Shared state of the cluster: logs, live topics, sessions, leases, intake, acknowledgements.
//!
//! Eight traits are the interface: [`EventLog`], [`LiveTopics`], [`SessionStore`], [`Membership`], [`IntakeQueue`],
//! [`CredentialStore`], [`AckStore`] and [`StreamStore`]; [`Broker`] is all of them. [`redis`] implements them with Redis and is the only code that knows Redis; [`memory`]
//! implements them within one process. Both pass the same contract suite.
//!
//! # Layout
//!
//! In the order in which an event passes through them:
//!
//! - [`broker`]: all eight traits together
//! - [`intake_queue`]: the ingest stream; [`intake`]: its entries; [`dead_letter`]: those that cannot be published
//! - [`retention`]: how many events, and how old, a log keeps
//! - [`settings`]: settings of both brokers
//! - [`event_log`]: publishing and reading; [`log`]: pages of stored events
//! - [`live_topics`]: live topics; [`subscriber`]: events and commands of a subscriber connection
//! - [`session_store`]: owners of sessions; [`session`]: claims and their results
//! - [`credential_store`]: revocations of tokens, tickets of users
//! - [`ack_store`]: acknowledged cursors
//! - [`stream_store`]: finite streams; [`forks`]: streams that begin with the bytes of others
//! - [`membership`]: nodes, and the sweep of dead ones; [`lease`]: leases
//! - [`error`]: errors, and whether a retry can help
//! - [`backoff`]: time between retries
//! - [`clock`]: time by the local clock
//! - [`memory`], [`redis`]: the two brokers
//! - `testing`: test doubles, behind the feature `testing`

pub mod ack_store;
pub mod backoff;
pub mod broker;
pub mod clock;
pub mod credential_store;
pub mod dead_letter;
pub mod error;
pub mod event_log;
pub mod forks;
pub mod intake;
pub mod intake_queue;
pub mod lease;
pub mod live_topics;
pub mod log;
pub mod membership;
pub mod memory;
pub mod redis;
pub mod retention;
pub mod session;
pub mod session_store;
pub mod settings;
pub mod stream_store;
pub mod subscriber;
#[cfg(feature = "testing")]
pub mod testing;

pub use ack_store::{AckSettings, AckStore};
pub use broker::Broker;
pub use credential_store::CredentialStore;
pub use error::{BrokerError, Condition, Outage};
pub use event_log::{EventLog, Published};
pub use intake_queue::IntakeQueue;
pub use lease::{NodeId, NodeInfo};
pub use live_topics::LiveTopics;
pub use membership::Membership;
pub use memory::MemoryBroker;
pub use redis::{RedisBroker, RedisSettings};
pub use retention::{Retention, RetentionRules};
pub use session_store::SessionStore;
pub use settings::BrokerSettings;
pub use stream_store::{StreamSettings, StreamStore};
