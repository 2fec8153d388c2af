//! Attacks on a node or its Redis, each refused in the way that its test's name says, with others unharmed. The threat
//! model is in `docs/security.md`.
//!
//! # Layout
//!
//! - [`admin_listener`]: clients that fill the public listener, and look for what is on the other
//! - [`balancers`]: what passes the balancers of `deploy/`
//! - [`browsers`]: pages that use the rights of their visitor
//! - [`grants`]: patterns that reach further than they say
//! - [`live_topics`]: who may publish on a channel's topics, and what nodes believe of it
//! - [`operators`]: what leaks to strangers, and what is refused when a node starts
//! - [`reads`]: history and `last=` on behalf of one user, and what Redis does meanwhile
//! - [`terminals`]: events that play tricks on who reads them in a shell
//! - [`tokens`]: tokens that should not be accepted

mod admin_listener;
mod balancers;
mod browsers;
mod grants;
mod live_topics;
mod operators;
mod reads;
mod terminals;
mod tokens;

mod client_addresses;
mod floods;
mod new_channels;
mod places;
