//! Log events at a bounded rate, and the registration of metrics.
//!
//! # Layout
//!
//! - `throttle`, `throttles`: rate limit of log events that input can cause; one for each who causes them
//! - `metrics`: registration of a metric

mod metrics;
mod throttle;
mod throttles;

pub use metrics::registered;
pub use throttle::Throttle;
pub use throttles::Throttles;
