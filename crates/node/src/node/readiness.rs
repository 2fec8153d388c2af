//! The checks of `/readyz`: Redis, the subscriber connection, the lease, the keys, the revocations, the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_api::health::Part;
use fanfare_auth::Authenticator;
use fanfare_broker::Outage;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_coordination::lease::{LeaseState, LeaseStatus};
use fanfare_coordination::revocations::Revocations;
use tokio::sync::watch;

use crate::http::readiness::Readiness;

/// Returns the checks.
pub(super) fn checks(
    lease: watch::Receiver<LeaseState>,
    wire: watch::Receiver<SubscriberState>,
    authenticator: Option<Arc<Authenticator>>,
    revocations: Revocations,
    draining: &Arc<AtomicBool>,
) -> Readiness {
    let (of_broker, of_redis, draining) = (lease.clone(), lease.clone(), Arc::clone(draining));
    Readiness {
        outage: Box::new(move || outage(&of_broker.borrow())),
        redis: Box::new(move || broker(&of_redis.borrow())),
        pubsub: Box::new(move || subscribed(*wire.borrow())),
        lease: Box::new(move || held(&lease.borrow())),
        keys: Box::new(move || keys(authenticator.as_deref())),
        revocations: Box::new(move || {
            Part::when(revocations.is_loaded(), "the revocations of tokens have not been read yet")
        }),
        draining: Box::new(move || Part::when(!draining.load(Ordering::Relaxed), "the node is draining")),
    }
}

/// Returns whether the broker answered the last heartbeat.
fn broker(lease: &LeaseState) -> Part {
    match lease.status {
        LeaseStatus::Starting => Part::wrong("no heartbeat yet"),
        _ => outage(lease).map_or(Part::OK, |outage| Part::wrong(outage.to_string())),
    }
}

/// Returns why the broker did not carry out the last heartbeat, if it did not, or has not answered yet.
fn outage(lease: &LeaseState) -> Option<Outage> {
    match lease.status {
        LeaseStatus::Starting => Some(Outage::NoAnswer),
        _ => lease.outage,
    }
}

fn subscribed(wire: SubscriberState) -> Part {
    let down = "the subscriber connection to Redis is down";
    match wire.outage {
        Some(outage) if !wire.up => Part::wrong(format!("{down}: {outage}")),
        _ => Part::when(wire.up, down),
    }
}

fn held(lease: &LeaseState) -> Part {
    match lease.status {
        LeaseStatus::Waiting => {
            Part::wrong("waiting for the lease of an earlier process with this node.id to expire")
        }
        LeaseStatus::Foreign => Part::wrong("another running process uses this node.id"),
        _ => Part::when(lease.held(), "the node does not hold its lease"),
    }
}

/// Returns whether the node has the keys of all issuers.
fn keys(authenticator: Option<&Authenticator>) -> Part {
    match authenticator.and_then(Authenticator::without_keys) {
        Some(issuer) => Part::wrong(format!(
            "the keys of {0} have not been fetched yet ({0}.jwks_url)",
            issuer.settings().place
        )),
        None => Part::OK,
    }
}
