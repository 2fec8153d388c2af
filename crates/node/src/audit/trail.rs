//! Who makes a request and what it did: noted where that is known, and read where the audit log is written.
//!
//! Only authentication knows the caller, in the middle of a handler, and the handler's result says nothing about it. So the
//! layer around the handlers gives each request a place for notes, in the task that serves the request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_protocol::User;
use fanfare_protocol::revocation::TokenId;
use fanfare_protocol::rights::Rights;
use tokio::task::futures::TaskLocalFuture;

use super::Effect;
use crate::auth::{Bearer, Carrier};

tokio::task_local! {
    static NOTES: Place;
}

/// Number of leading hexadecimal digits of an API key's hash that name the key.
const KEY_DIGITS: usize = 12;

/// An authenticated caller, without what authenticates it. Also of a token that has expired or is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user, if there is one.
    pub(super) user: Option<User>,
    /// What the caller was known by: `token`, `cookie`, `callback`, `key`, `ticket`, or `none`.
    pub(super) credential: &'static str,
    /// Hash of the token's `jti`.
    pub(super) token: Option<TokenId>,
    /// Beginning of the API key's hash.
    pub(super) key: Option<String>,
    /// Rights beyond channels.
    pub(super) rights: Rights,
}

impl Caller {
    /// Returns the bearer of a token that is not accepted any more.
    fn of_expired(user: User, token: Option<TokenId>) -> Self {
        Self { user: Some(user), credential: "token", token, key: None, rights: Rights::default() }
    }
}

impl From<&Bearer> for Caller {
    fn from(Bearer { user, grants, stamp, carrier, key, .. }: &Bearer) -> Self {
        let credential = match (carrier, key) {
            (Carrier::Sent | Carrier::Cookie | Carrier::Callback | Carrier::Reach, Some(_)) => "key",
            (Carrier::Sent, None) => "token",
            (Carrier::Ticket, _) => "ticket",
            (Carrier::Cookie, None) => "cookie",
            (Carrier::Callback, None) => "callback",
            (Carrier::Reach, None) => "none",
        };
        Self {
            user: user.clone(),
            credential,
            token: stamp.and_then(|stamp| stamp.id),
            key: key.as_ref().map(|key| key.hash.to_string().chars().take(KEY_DIGITS).collect()),
            rights: grants.admin,
        }
    }
}

/// What was noted about a request.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// `None` for a request that was refused before authentication.
    pub(super) caller: Option<Caller>,
    /// `None` for calls without one, and for those that failed.
    pub(super) effect: Option<Effect>,
}

/// Where a request's notes are. It outlives a request that is dropped before its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<Mutex<Notes>>);

impl Place {
    /// Returns what was noted, and forgets it.
    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut self.notes())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a request, with a place for its notes.
pub(crate) fn follow<F: Future>(place: Place, request: F) -> TaskLocalFuture<Place, F> {
    NOTES.scope(place, request)
}

/// Notes the caller of the request that this task serves.
pub(crate) fn note(bearer: &Bearer) {
    with_notes(|notes| notes.caller = Some(bearer.into()));
}

/// The same for the bearer of a token that has expired.
pub(crate) fn note_expired(user: &User, token: Option<TokenId>) {
    with_notes(|notes| notes.caller = Some(Caller::of_expired(user.clone(), token)));
}

/// Notes what the request that this task serves did.
pub(crate) fn note_effect(effect: Effect) {
    with_notes(|notes| notes.effect = Some(effect));
}

fn with_notes(write: impl FnOnce(&mut Notes)) {
    // A handler that is called without the layer, as in tests, has no place.
    let _ = NOTES.try_with(|place| write(&mut place.notes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_has_its_own_caller() {
        let user = |id: &str| User::new(id).unwrap();
        let request = async |id: &str| {
            tokio::task::yield_now().await;
            note_expired(&user(id), None);
            tokio::task::yield_now().await;
        };
        let places = [Place::default(), Place::default(), Place::default()];
        tokio::join!(follow(places[0].clone(), request("a")), follow(places[1].clone(), request("b")));
        follow(places[2].clone(), async {}).await;
        let callers = places.map(|place| place.take().caller.and_then(|caller| caller.user));
        assert_eq!(callers, [Some(user("a")), Some(user("b")), None]);
        note_expired(&user("c"), None);
    }
}
