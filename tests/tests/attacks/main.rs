//! Attacks on a node or its Redis, each refused in the way that its test's name says, with others unharmed. The threat
//! model is in `docs/security.md`.
//!
//! # Layout
//!
//! - [`admin_listener`]: clients that fill the public listener, and look for what is on the other
//! - [`ahead`]: bytes that clients send before they are read
//! - [`balancers`]: what passes the balancers of `deploy/`
//! - [`bombs`]: messages that grow as they are read
//! - [`browsers`]: pages that use the rights of their visitor
//! - [`callback`]: an application that says who clients are, and fails in every way
//! - [`client_addresses`]: what clients say of where they come from
//! - [`crowds`]: thousands of slow or silent clients, and others that do not notice
//! - [`floods`]: one user or address that asks for more than its share
//! - [`frame_floods`]: control frames of HTTP/2, and lines of the log
//! - [`grants`]: patterns that reach further than they say
//! - [`idempotency_keys`]: keys that are long or many
//! - [`intake_ids`]: ids that a publisher chooses for entries of the intake
//! - [`live_topics`]: who may publish on a channel's topics, and what nodes believe of it
//! - [`operators`]: what leaks to strangers, and what is refused when a node starts
//! - [`reads`]: history and `last=` on behalf of one user, and what Redis does meanwhile
//! - [`new_channels`]: publishers that make channels without end
//! - [`places`]: streams that linger past their limit
//! - [`redis_users`]: what the Redis users of the documentation can do, and what not
//! - [`sockets`]: sockets that are kept open
//! - [`terminals`]: events that play tricks on who reads them in a shell
//! - [`tokens`]: tokens that should not be accepted
//! - [`unfinished`]: bodies that do not end, and answers that are not taken

mod admin_listener;
mod ahead;
mod balancers;
mod bombs;
mod browsers;
mod callback;
mod client_addresses;
mod crowds;
mod floods;
mod frame_floods;
mod grants;
mod idempotency_keys;
mod intake_ids;
mod jwks;
mod live_topics;
mod new_channels;
mod operators;
mod places;
mod reads;
mod redis_users;
mod sockets;
mod terminals;
mod tokens;
mod unfinished;
