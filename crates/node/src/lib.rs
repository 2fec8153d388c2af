//! One Fanfare server: config, auth, hub, connections, HTTP.
//!
//! # Layout
//!
//! In the order a request and then an event passes them:
//!
//! - [`config`]: settings, read and checked before anything is bound
//! - [`node`]: puts everything below together, and takes it apart again
//! - [`accept`]: sockets, until a stream takes one over
//! - [`http`], [`auth`]: the calls, and who may make them
//! - [`session`], [`lease`], [`sweeper`], [`control`]: who holds which session, and what other nodes ask of us
//! - [`hub`], [`ending`]: from the live wire to the connections, and every way in which one ends
//! - [`intake`]: what publishers left in the ingest stream
//! - [`metrics`]: what the node counts

pub mod accept;
pub mod auth;
pub mod config;
mod connection;
pub mod control;
pub mod ending;
#[cfg(test)]
mod faulty;
pub mod http;
pub mod hub;
pub mod intake;
pub mod lease;
pub mod metrics;
pub mod node;
mod retry;
pub mod session;
pub mod sweeper;
mod throttle;

pub use config::Config;
pub use node::Node;
