//! One Fanfare node: listener, TLS, authentication, HTTP, and the wiring of hub and coordination.
//!
//! # Layout
//!
//! In the order in which a request passes through them:
//!
//! - [`node`]: starts and shuts down everything below
//! - [`tls`], [`listener`]: sockets, until a stream takes one over
//! - [`reload`]: reads the files of certificates and keys again when they change
//! - [`address`], [`rates`]: client addresses, and rate limits of users and addresses
//! - [`memory`], [`pace`]: memory limit of requests and streams, and minimum transfer rate
//! - [`request_info`]: what is known of a request before its endpoint sees it
//! - [`http`], [`auth`]: the HTTP API, authentication and authorization
//! - [`audit`]: the audit log
//! - `upkeep`: a task that runs once a second

pub mod address;
pub mod audit;
pub mod auth;
pub mod finite;
pub mod http;
pub mod listener;
pub mod memory;
pub mod node;
pub mod pace;
pub mod rates;
pub mod reload;
pub mod request_info;
pub mod tls;
mod upkeep;

pub use node::{Additions, Node};
