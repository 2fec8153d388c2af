//! What whole-system tests are made of: a real Redis, real nodes, and clients that trust nobody.
//!
//! Everything here belongs to the test that made it and is gone when its handle is dropped, also after a panic.
//! Nothing is shared between tests, so that they run side by side.
//!
//! # Layout
//!
//! From the outside in:
//!
//! - [`deadline`]: waiting for a condition, never for a time
//! - [`loopback`]: addresses that nobody else uses
//! - [`namespace`]: two networks with a cable between them that can be pulled
//! - [`redis`]: a redis-server of one's own
//! - [`breaker`]: a wire between a node and Redis that breaks on demand
//! - [`binary`], [`node`], [`metrics`], [`cluster`]: `fanfare serve` processes, and what they say of themselves
//! - [`balancer`]: nginx or `HAProxy` in front of nodes, configured as `deploy/` says
//! - [`certificate`], [`wire`], [`http2`], [`transport`]: the ways to a node: clear text, TLS, one connection for many streams
//! - [`api`]: the node's HTTP calls that are not streams
//! - [`exchange`], [`frames`]: one request, byte for byte; HTTP/2, frame for frame
//! - [`token`]: what `--auth jwt` asks for
//! - [`publisher`]: the ways in through Redis
//! - [`request`], [`head`], [`body`], [`coding`], [`parser`], [`client`]: a stream, read by rules of our own
//! - [`ledger`], [`watcher`]: what was accepted against what arrived
//! - [`lifecycle`], [`footprint`]: what is told of sessions, and what they leave behind

pub mod api;
pub mod balancer;
pub mod binary;
pub mod body;
pub mod breaker;
pub mod certificate;
pub mod client;
pub mod cluster;
pub mod coding;
pub mod deadline;
pub mod exchange;
pub mod footprint;
pub mod frames;
pub mod head;
pub mod http2;
pub mod ledger;
pub mod lifecycle;
pub mod loopback;
pub mod metrics;
pub mod namespace;
pub mod node;
pub mod parser;
pub mod publisher;
pub mod redis;
pub mod request;
pub mod token;
pub mod transport;
pub mod watcher;
pub mod wire;
