//! What a server costs and how fast it is: a crowd of streams, a publisher, and the kernel's books.
//!
//! # Layout
//!
//! - [`site`]: a server as the measurement sees it
//! - [`sample`]: the data of the events
//! - `stream`, `tally`: one stream, and what all have got
//! - `entrance`: the publisher's connections
//! - [`crowd`]: streams and publisher on one thread
//! - `pacer`: when the events of an open loop are due
//! - [`process`]: processor time and memory of processes
//! - [`measure`], [`measurement`]: one measurement, and what it found

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
