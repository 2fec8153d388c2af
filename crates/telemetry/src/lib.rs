//! Log events at a bounded rate, and the registration of metrics.
//!
//! # Layout
//!
//! - `throttle`: rate limit of log events that input can cause
//! - `metrics`: registration of a metric

mod metrics;
mod throttle;

pub use metrics::registered;
pub use throttle::Throttle;
