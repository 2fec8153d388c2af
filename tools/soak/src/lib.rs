//! The soak test of a Fanfare cluster from outside, with a verdict on what every client received.
//!
//! It uses HTTP and Redis like any other client and shares no code with the nodes.
//!
//! # Layout
//!
//! Events and clients:
//!
//! - [`plan`]: channels, clients and their subscriptions
//! - [`publish_client`], `publisher_pool`: publishing interfaces, and publishers with a steady rate
//! - [`ledger`]: accepted events
//! - [`client`]: one client, and the record of what it received
//! - [`counts`]: control events of clients, and the ends of their streams
//! - [`phase`], [`progress`]: counts and delays
//! - [`lifecycle`]: the cluster's lifecycle stream
//!
//! A run:
//!
//! - [`scenario`]: faults during the run
//! - [`effect`]: required effects of the faults; [`proof`]: whether they were seen
//! - [`control`]: a command that causes the faults
//! - [`soak`]: the whole run
//! - [`report`]: the verdict

pub mod client;
pub mod control;
pub mod counts;
pub mod effect;
pub mod ledger;
pub mod lifecycle;
pub mod phase;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod publish_client;
mod publisher_pool;
pub mod report;
pub mod scenario;
pub mod soak;
