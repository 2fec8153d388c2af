//! Cost and speed of a server: many streams, a publisher, and the kernel's accounting.
//!
//! # Layout
//!
//! - [`site`]: the server's URLs and requests
//! - [`sample`]: the data of the events
//! - `stream`, `tally`: one stream, and the counts of all streams
//! - `entrance`: the publisher's connections
//! - [`crowd`]: streams and publisher on one thread
//! - `pacer`: the schedule of an open loop
//! - [`process`]: processor time and memory of processes
//! - [`measure`], [`measurement`]: one measurement, and its results

pub mod crowd;
mod entrance;
pub mod measure;
pub mod measurement;
mod pacer;
pub mod process;
pub mod sample;
pub mod site;
mod stream;
mod tally;
