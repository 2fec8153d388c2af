//! One Fanfare server: config, auth, hub, connections, HTTP.

pub mod accept;
pub mod auth;
pub mod config;
pub mod ending;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod session;
