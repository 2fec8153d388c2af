//! Faults under load: three nodes behind a real load balancer, hundreds of clients as browsers are, and a verdict on
//! what each of them got.
//!
//! Two tests run at once, those that judge times alone ([`roll`]). `FANFARE_SOAK=long` makes all of them long, and each runs
//! alone: more clients, longer faults and longer quiet times between them.
//!
//! # Layout
//!
//! - [`form`]: how long and how large
//! - [`stage`]: Redis, nodes and a balancer, and what is done to them
//! - [`come_back`]: no answer of a balancer ends a client
//! - [`roll`]: nodes are asked to leave, one after another
//! - [`crash`]: nodes are killed, or frozen
//! - [`redis`]: Redis restarts, loses its connections, or cannot be reached
//! - [`over_http`]: publishers that go through the balancer
//! - [`streams_only`]: a balancer that nothing but streams passes through
//! - [`stall`]: a thousand clients that do not read
//! - [`random`]: faults of all kinds

mod come_back;
mod crash;
mod form;
mod over_http;
mod random;
mod redis;
mod roll;
mod stage;
mod stall;
mod streams_only;
