//! Settings, one struct per topic.

pub mod stream;
