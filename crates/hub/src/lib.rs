//! The streams of a node: fan-out of events to connections, catch-up, and the text that clients receive.
//!
//! A stream is opened by [`Hub::open`] with its socket, and belongs to one shard for its whole life. What the hub knows of
//! HTTP is the framing of a body; who may open a stream is decided above it.
//!
//! # Layout
//!
//! In the order in which an event passes through them:
//!
//! - [`stream`]: an accepted stream, before the hub serves it
//! - `hub`: opens the subscriber connection, and starts the shards
//! - `subscription_table`: which shards have subscribers of which channel
//! - `inbox`: the queue of a shard
//! - `shard`: a shard and its connections
//! - `topic`: one channel in one shard
//! - `window`: the channel's recent events, with which catch-up joins live delivery
//! - `fork`: where the channel's log was rolled back
//! - `log_reads`: log reads, shared by connections at the same position; `fair_queue`: the order in which they start
//! - [`read_budget`]: bytes of concurrent log reads
//! - `log_clock`: upper bound of the clock that assigns positions
//! - `encoded_event`: an event, encoded once for all connections
//! - [`dialect`], [`retry`]: the text of a stream, and its reconnection times
//! - `gzip`: compression, once for all clients that accept it
//! - `connection`: one stream of one client; [`queue_budget`]: bytes of all their queues
//! - [`connection_log`]: one line for each connection that ended
//! - `ready_list`: connections whose sockets are ready
//! - [`metrics`]: the metrics of the hub and its connections; [`namespaces`]: their label for channels
//! - `testing`: a hub without a node, streams and sockets for tests, behind the feature `testing`

mod connection;
pub mod connection_log;
pub mod dialect;
mod encoded_event;
mod fair_queue;
mod fork;
mod gzip;
mod hub;
mod inbox;
mod log_clock;
mod log_reads;
pub mod metrics;
pub mod namespaces;
pub mod queue_budget;
pub mod read_budget;
mod ready_list;
pub mod retry;
mod shard;
pub mod stream;
mod subscription_table;
#[cfg(feature = "testing")]
pub mod testing;
mod topic;
mod window;

pub use hub::{Hub, HubSettings, PREFETCH};
