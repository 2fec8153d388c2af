//! Faults that were found, a module for each area and a test for each fault.
//!
//! # Layout
//!
//! - [`event_types`]: types that a browser takes for its connection
//! - [`gzip_sync`]: compressed streams, and decoders that hold text back
//! - [`long_lines`]: the longest line of a stream
//! - [`planned_ends`]: how soon a client comes back
//! - [`stream_text`]: text that clients read in different ways

mod event_types;
mod gzip_sync;
mod long_lines;
mod planned_ends;
mod stream_text;
