//! One Fanfare server: config, auth, hub, connections, HTTP.

pub mod config;
mod connection;
pub mod ending;
pub mod hub;
pub mod metrics;
pub mod session;
