//! Stock clients by their own readers: the programs in `tests/clients`, built by `tests/clients/build`.
//!
//! # Layout
//!
//! - [`program`]: a client's process and what it prints
//! - [`catalog`]: the programs, and how each is run
//! - [`message`]: what a library handed to its program
//! - [`account`]: what was published against what one client printed
//! - [`stage`]: Redis, two nodes and nginx
//! - [`dead_end`]: a front that closes each connection
//! - [`libraries`]: every library through every scene
//! - [`table`]: the table in the documentation, written from what was tested
//! - [`decoders`]: every decoder of gzip, a piece at a time

mod account;
mod catalog;
mod dead_end;
mod decoders;
mod libraries;
mod message;
mod program;
mod stage;
mod table;
