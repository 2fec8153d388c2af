//! The shared state of a cluster as a whole.

use crate::{CredentialStore, EventLog, IntakeQueue, LiveTopics, Membership, SessionStore};

/// Shared state of a cluster: everything that outlives a node.
///
/// What implements the six traits is a broker. A user takes the trait that it needs, for which an `Arc<dyn Broker>`
/// serves, too.
pub trait Broker: EventLog + LiveTopics + SessionStore + Membership + IntakeQueue + CredentialStore {}

impl<T: EventLog + LiveTopics + SessionStore + Membership + IntakeQueue + CredentialStore> Broker for T {}
