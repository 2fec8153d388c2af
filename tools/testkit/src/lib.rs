//! The kit of the tests and tools: a real Redis, real nodes, faults, and clients that check what they receive.
//!
//! The readers share no code with the writers that they judge. Each handle owns what it starts, and ends it when it is
//! dropped, also after a panic. Nothing is shared between tests, so they run side by side.
//!
//! # Layout
//!
//! From the outside in:
//!
//! - [`open_files`]: the process's limit of open files
//! - [`deadline`]: waits for a condition, never for a time
//! - [`loopback`]: unused loopback addresses
//! - [`namespace`]: two networks and a link between them that can be cut
//! - [`redis`]: a redis-server for one test
//! - [`chaos_proxy`]: a TCP proxy that pauses, delays, resets and refuses connections
//! - [`binary`], [`node`], [`metrics`], [`cluster`]: `fanfare serve` processes and their metrics
//! - [`balancer`]: nginx or `HAProxy` in front of nodes, with the configuration of `deploy/`
//! - [`certificate`], [`tcp`], [`http2`], [`transport`]: connections to a node: clear text, TLS, HTTP/2
//! - [`api`]: the node's HTTP calls that are not streams
//! - [`exchange`], [`frames`]: one request, byte for byte; HTTP/2, frame for frame
//! - [`crowd`]: thousands of hostile clients
//! - [`attack`]: these, and a few whose requests are large, by name
//! - [`token`]: signed tokens for `--auth jwt`
//! - [`key_pair`], [`key_server`]: keys of an issuer, and the server of these keys, which fails in every way
//! - [`collector`]: an OpenTelemetry collector that keeps the spans
//! - [`application`]: the application that says who clients are
//! - [`publisher`]: publishing through Redis
//! - [`head`], [`body`], [`coding`], [`sse`]: the reader of a stream, an implementation of its own
//! - [`request`], [`client`]: a client that reads when the test says so, and checks every block
//! - [`target`], [`event_source`]: a client that behaves like a browser's `EventSource`, by the thousand
//! - [`numbered`], [`received`]: numbered events, and the losses, duplicates and disorder among received ones
//! - [`ledger`], [`watcher`]: accepted events compared with received events
//! - [`lifecycle`], [`footprint`]: entries of the lifecycle stream, and what sessions leave behind

pub mod api;
pub mod application;
pub mod attack;
pub mod balancer;
pub mod binary;
pub mod body;
pub mod certificate;
pub mod chaos_proxy;
pub mod client;
pub mod cluster;
pub mod coding;
pub mod collector;
pub mod crowd;
pub mod deadline;
pub mod event_source;
pub mod exchange;
pub mod footprint;
pub mod frames;
pub mod head;
pub mod http2;
pub mod key_pair;
pub mod key_server;
pub mod ledger;
pub mod lifecycle;
pub mod loopback;
pub mod metrics;
pub mod namespace;
pub mod node;
pub mod numbered;
pub mod open_files;
pub mod publisher;
pub mod received;
pub mod redis;
pub mod request;
pub mod sse;
pub mod target;
pub mod tcp;
pub mod token;
pub mod transport;
pub mod watcher;
