//! The shared state of a cluster as a whole.

use crate::{
    AckStore, CredentialStore, EventLog, IntakeQueue, LiveTopics, Membership, SessionStore, StreamStore,
};

/// Shared state of a cluster: everything that outlives a node.
///
/// What implements the eight traits is a broker. A user takes the trait that it needs, for which an `Arc<dyn Broker>`
/// serves, too.
pub trait Broker:
    EventLog + LiveTopics + SessionStore + Membership + IntakeQueue + CredentialStore + AckStore + StreamStore
{
}

impl<T> Broker for T where
    T: EventLog
        + LiveTopics
        + SessionStore
        + Membership
        + IntakeQueue
        + CredentialStore
        + AckStore
        + StreamStore
{
}
