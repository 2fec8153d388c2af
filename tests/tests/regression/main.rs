//! Faults that were found, a module for each area and a test for each fault.
//!
//! # Layout
//!
//! - [`backlog`]: what comes together is worked off without a rate
//! - [`clear_errors`]: errors that sent people the wrong way
//! - [`data_verbatim`]: JSON data that arrived as something else
//! - [`dropped_is_logged`]: what is put aside or dropped, and the log
//! - [`event_types`]: types that a browser takes for its connection
//! - [`gzip_sync`]: compressed streams, and decoders that hold text back
//! - [`idempotency_key`]: the header of that name
//! - [`identity`]: a session belongs to its user
//! - [`lines`]: one bad line among others
//! - [`long_lines`]: the longest line of a stream
//! - [`outlier_buffers`]: memory that one message took
//! - [`planned_ends`]: how soon a client comes back
//! - [`prefixes`]: two clusters on one Redis share no name
//! - [`quick_start`]: README's quick start, as it is printed
//! - [`redis_refuses`]: a Redis that answers and refuses
//! - [`stream_text`]: text that clients read in different ways

mod backlog;
mod clear_errors;
mod data_verbatim;
mod dropped_is_logged;
mod event_types;
mod gzip_sync;
mod idempotency_key;
mod identity;
mod lines;
mod long_lines;
mod outlier_buffers;
mod planned_ends;
mod prefixes;
mod quick_start;
mod redis_refuses;
mod stream_text;
