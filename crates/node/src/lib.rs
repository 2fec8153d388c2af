//! One Fanfare server: config, auth, hub, connections, HTTP.

pub mod config;
pub mod ending;
pub mod hub;
pub mod metrics;
pub mod session;
