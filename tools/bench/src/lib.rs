//! Benchmarks of Fanfare and other servers: what a delivery costs, compared with a baseline that only writes.
//!
//! It uses HTTP and Redis like any other client and shares no code with the nodes.
//!
//! # Layout
//!
//! One measurement of any server:
//!
//! - [`endpoint`], [`signer`]: the server's URLs and requests, and their tokens
//! - [`sample`]: the data of the events
//! - `stream`, `tally`: one stream, and the counts of all streams
//! - `publisher`: the publisher's connections
//! - [`load_generator`]: streams and publisher on one thread
//! - `pacer`: the schedule of an open loop
//! - [`process`]: processor time and memory of processes
//! - [`measure`], [`measurement`]: one measurement, and its results
//!
//! The comparison:
//!
//! - [`revocation`]: the time from a revocation to the end of streams
//! - [`observability`]: what metrics, figures and the log of connections cost
//! - [`baseline`]: a server that only writes
//! - [`table`]: all servers side by side, and docs/performance.md

pub mod baseline;
pub mod endpoint;
pub mod load_generator;
pub mod measure;
pub mod measurement;
pub mod observability;
mod pacer;
pub mod process;
mod publisher;
pub mod revocation;
pub mod sample;
pub mod signer;
mod stream;
pub mod table;
mod tally;
