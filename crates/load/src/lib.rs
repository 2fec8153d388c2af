//! Load on a Fanfare cluster from outside, and a verdict on what every client got.
//!
//! It speaks HTTP and Redis like anybody else and shares no code with the nodes.
//!
//! # Layout
//!
//! What a client is:
//!
//! - [`target`]: where the cluster is, and sockets to it
//! - [`head`], [`body`], [`sse`]: a response, read piece by piece
//! - [`event_source`]: a browser's `EventSource`, and nothing cleverer
//!
//! What is published and what comes of it:
//!
//! - [`plan`]: who follows what
//! - [`event`]: the numbered events
//! - [`door`], `publisher`: the ways in, and a steady pace through them
//! - [`ledger`]: what was accepted
//! - [`client`], [`account`]: what each client got
//! - [`histogram`], [`phase`], [`board`]: when, and how long it took
//! - [`lifecycle`]: what the cluster tells of its users
//!
//! A run:
//!
//! - [`scenario`]: what is done to the cluster meanwhile
//! - [`effect`]: what that must have caused; [`proof`]: whether it was seen
//! - [`control`]: how an operator lets it be done
//! - [`soak`]: everything together
//! - [`report`]: the verdict
//!
//! What a server costs:
//!
//! - [`mod@bench`]: one measurement of any server
//! - [`floor`]: the server that does nothing but write
//! - [`table`]: all servers side by side, and the document

pub mod account;
pub mod bench;
pub mod board;
pub mod body;
pub mod client;
pub mod control;
pub mod door;
pub mod effect;
pub mod event;
pub mod event_source;
pub mod floor;
pub mod head;
pub mod histogram;
pub mod ledger;
pub mod lifecycle;
pub mod phase;
pub mod plan;
pub mod proof;
mod publisher;
pub mod report;
pub mod scenario;
pub mod soak;
pub mod sse;
pub mod table;
pub mod target;
