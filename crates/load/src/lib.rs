//! Soak tests and benchmarks of a Fanfare cluster from outside, with a verdict on what every client received.
//!
//! It uses HTTP and Redis like any other client and shares no code with the nodes.
//!
//! # Layout
//!
//! Clients:
//!
//! - [`target`]: the cluster's address, and sockets to it
//! - [`head`], [`body`], [`sse`]: incremental parsers of a response
//! - [`event_source`]: a client that behaves exactly like a browser's `EventSource`
//!
//! Events and their accounting:
//!
//! - [`plan`]: channels, clients and their subscriptions
//! - [`event`]: the numbered events
//! - [`door`], `publisher`: publishing interfaces, and publishers with a steady rate
//! - [`ledger`]: accepted events
//! - [`client`], [`account`]: events received by each client
//! - [`histogram`], [`phase`], [`board`]: counts and delays
//! - [`lifecycle`]: the cluster's lifecycle stream
//!
//! A run:
//!
//! - [`scenario`]: faults during the run
//! - [`effect`]: required effects of the faults; [`proof`]: whether they were seen
//! - [`control`]: a command that causes the faults
//! - [`soak`]: the whole run
//! - [`report`]: the verdict
//!
//! Benchmarks:
//!
//! - [`mod@bench`]: one measurement of any server
//! - [`floor`]: the baseline, a server that only writes
//! - [`table`]: all servers side by side, and the document

pub mod account;
pub mod bench;
pub mod board;
pub mod body;
pub mod client;
pub mod control;
pub mod door;
pub mod effect;
pub mod event;
pub mod event_source;
pub mod floor;
pub mod head;
pub mod histogram;
pub mod ledger;
pub mod lifecycle;
pub mod phase;
pub mod plan;
pub mod proof;
mod publisher;
pub mod report;
pub mod scenario;
pub mod soak;
pub mod sse;
pub mod table;
pub mod target;
