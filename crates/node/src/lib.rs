//! One Fanfare server: config, auth, hub, connections, HTTP.

mod backoff;
pub mod config;
mod connection;
pub mod control;
pub mod ending;
#[cfg(test)]
mod faulty;
pub mod hub;
pub mod intake;
pub mod lease;
pub mod metrics;
pub mod session;
pub mod sweeper;
mod throttle;
