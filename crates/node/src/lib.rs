//! One Fanfare node: listener, authentication, hub, connections, HTTP.
//!
//! # Layout
//!
//! In the order in which a request, and then an event, passes through them:
//!
//! - [`node`]: starts and shuts down everything below
//! - [`tls`], [`listener`]: sockets, until a stream takes one over
//! - [`address`], [`rates`]: client addresses, and rate limits of users and addresses
//! - [`memory`], [`pace`]: memory limit of requests and streams, and minimum transfer rate
//! - [`http`], [`auth`]: the HTTP API, authentication and authorization
//! - [`stream`]: an accepted stream, before the hub serves it
//! - [`hub`]: maps channels to local connections
//! - [`read_budget`]: bytes of concurrent log reads
//! - `log_clock`: upper bound of the clock that assigns positions
//! - `encoded_event`: an event, encoded once for all connections
//! - [`dialect`], [`retry`]: the text of a stream, and its reconnection times
//! - `gzip`: compression, once for all clients that accept it
//! - `connection`: one stream of one client
//! - [`metrics`]: the metrics of the node

pub mod address;
pub mod auth;
mod connection;
pub mod dialect;
mod encoded_event;
mod gzip;
pub mod http;
pub mod hub;
pub mod listener;
mod log_clock;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod pace;
pub mod rates;
pub mod read_budget;
pub mod retry;
pub mod stream;
pub mod tls;

pub use node::Node;
