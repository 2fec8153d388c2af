//! Settings, one struct per topic.

pub mod intake;
pub mod lease;
pub mod stream;
