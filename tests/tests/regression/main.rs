//! Faults that were found, a module for each area and a test for each fault.
//!
//! # Layout
//!
//! - [`backlog`]: what comes together is worked off without a rate
//! - [`balancer_answers`]: what balancers say while no node is there
//! - [`balancer_problems`]: errors that balancers make by themselves
//! - [`blocked_reads`]: files whose read does not end
//! - [`catch_up_work`]: what waits in Redis while clients read large events
//! - [`catching_up`]: what a client that is behind costs Redis
//! - [`clear_errors`]: errors that sent people the wrong way
//! - [`cross_origin`]: answers that pages of another origin may read
//! - [`cursor_in_the_query`]: stock clients that come back in their own way
//! - [`data_verbatim`]: JSON data that arrived as something else
//! - [`dead_peers`]: clients that vanish without a word
//! - [`dropped_is_logged`]: what is put aside or dropped, and the log
//! - [`event_types`]: types that a browser takes for its connection
//! - [`extremes`]: positions, times and limits at their extremes
//! - [`gone_clients`]: clients that leave behind a balancer
//! - [`gzip_sync`]: compressed streams, and decoders that hold text back
//! - [`half_close`]: clients that have closed their sending half, and those that have left
//! - [`http_letter`]: what the standards ask for, a row each
//! - [`idempotency_key`]: the header of that name
//! - [`identity`]: a session belongs to its user
//! - [`lines`]: one bad line among others
//! - [`long_lines`]: the longest line of a stream
//! - [`outlier_buffers`]: memory that one message took
//! - [`planned_ends`]: how soon a client comes back
//! - [`positions_ahead`]: a log that went back
//! - [`prefixes`]: two clusters on one Redis share no name
//! - [`quick_start`]: README's quick start, as it is printed
//! - [`raw`]: bytes on a socket, and what comes back
//! - [`redis_refuses`]: a Redis that answers and refuses
//! - [`request_heads`]: long URLs and their cursors, with and without a balancer
//! - [`stream_text`]: text that clients read in different ways

mod backlog;
mod balancer_answers;
mod balancer_problems;
mod blocked_reads;
mod catch_up_work;
mod catching_up;
mod clear_errors;
mod cross_origin;
mod cursor_in_the_query;
mod data_verbatim;
mod dead_peers;
mod dropped_is_logged;
mod event_types;
mod extremes;
mod gone_clients;
mod gzip_sync;
mod half_close;
mod http_letter;
mod idempotency_key;
mod identity;
mod lines;
mod long_lines;
mod outlier_buffers;
mod planned_ends;
mod positions_ahead;
mod prefixes;
mod quick_start;
mod raw;
mod redis_refuses;
mod request_heads;
mod stream_text;
