//! What nodes of a cluster do together: sessions, leases, the sweep of dead nodes, commands, the intake.
//!
//! It knows no streams: what ends a stream is an [`EndStream`](session::EndStream), and so on.
//!
//! # Layout
//!
//! - [`lease`]: the node's time-limited right to own sessions, and its heartbeats
//! - [`session`]: claims, releases and renewals of sessions
//! - [`revocations`]: revoked tokens, and the tokens of open streams
//! - [`control`]: commands of other nodes
//! - [`sweeper`]: removes the sessions of dead nodes
//! - [`intake`]: publishes the entries of the ingest stream
//! - [`metrics`]: the metrics of all of them

pub mod control;
pub mod intake;
pub mod lease;
pub mod metrics;
pub mod revocations;
pub mod session;
pub mod sweeper;
