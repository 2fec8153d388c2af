//! The bodies of the HTTP API: one type for each, written by nodes and read by clients.
//!
//! The members of a body are written in the order of the fields. A reader ignores members that it does not know, so
//! that a node may be newer than its clients.
//!
//! # Layout
//!
//! - [`publish`]: results of published events
//! - [`history`]: a page of a channel's log
//! - [`sessions`]: a user's sessions
//! - [`presence`]: who follows a channel
//! - [`channel_settings`]: the settings in force for a channel
//! - [`revocations`]: revocations of tokens, and replaced tokens of streams
//! - [`ack`]: what clients acknowledge
//! - [`tickets`]: one-time credentials of streams
//! - [`nodes`]: the cluster's nodes
//! - [`stats`]: the figures that nodes publish
//! - [`finite_streams`]: a page of finite streams
//! - [`dead_letters`]: intake entries that could not be published
//! - [`health`]: liveness and readiness
//! - [`stream`]: the data of a stream's control events
//! - [`problem`]: error responses

pub mod ack;
pub mod channel_settings;
pub mod dead_letters;
pub mod finite_streams;
pub mod health;
pub mod history;
pub mod nodes;
pub mod presence;
pub mod problem;
pub mod publish;
pub mod revocations;
pub mod sessions;
pub mod stats;
pub mod stream;
pub mod tickets;

pub use problem::{Code, ProblemDetails};
