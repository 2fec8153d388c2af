//! One Fanfare server: config, auth, hub, connections, HTTP.
//!
//! # Layout
//!
//! In the order a request and then an event passes them:
//!
//! - [`config`]: settings, read and checked before anything is bound
//! - [`node`]: puts everything below together, and takes it apart again
//! - [`tls`], [`accept`]: sockets, until a stream takes one over
//! - [`address`], [`rates`]: where a request comes from, and how many of them one user or address may send
//! - [`address`], [`memory`], [`pace`]: whom limits count, how many bytes clients make the node hold, and how slow they may
//!   be
//! - [`http`], [`auth`]: the calls, and who may make them
//! - [`stream`]: one that was let in, on its way to the hub
//! - [`session`], [`lease`], [`sweeper`], [`control`]: who holds which session, and what other nodes ask of us
//! - [`hub`]: from the live wire to the connections
//! - [`read_budget`]: how many bytes of logs may be on their way to the node at once
//! - `log_clock`: what the clock that gives positions can show at most
//! - `delivery`: an event on that way, encoded once
//! - `gzip`: and compressed once, for clients that accept it
//! - `connection`, [`ending`]: one stream of one client, and every way in which it ends
//! - [`intake`]: what publishers left in the ingest stream
//! - [`metrics`]: what the node counts

pub mod accept;
pub mod address;
pub mod auth;
pub mod config;
mod connection;
pub mod control;
mod delivery;
pub mod ending;
#[cfg(test)]
mod faulty;
mod gzip;
pub mod http;
pub mod hub;
pub mod intake;
pub mod lease;
mod log_clock;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod rates;
pub mod read_budget;
mod retry;
pub mod session;
pub mod stream;
pub mod sweeper;
mod throttle;
pub mod tls;

pub use config::Config;
pub use node::Node;
