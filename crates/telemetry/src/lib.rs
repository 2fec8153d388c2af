//! Log events at a bounded rate, the registration of metrics, the metrics of the process, and traces.
//!
//! # Layout
//!
//! - `throttle`, `throttles`: rate limit of log events that input can cause; one for each who causes them
//! - `metrics`: registration of a metric
//! - `process`: metrics of the process; `usage`: what it uses
//! - [`traces`]: spans of traced events

mod metrics;
#[cfg(target_os = "linux")]
mod process;
mod throttle;
mod throttles;
pub mod traces;
mod usage;

pub use metrics::registered;
#[cfg(target_os = "linux")]
pub use process::ProcessMetrics;
pub use throttle::Throttle;
pub use throttles::Throttles;
pub use usage::Usage;
