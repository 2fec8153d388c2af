//! Who makes a request: noted where the request is authenticated, and read where the audit log is written.
//!
//! Only authentication knows the caller, in the middle of a handler, and the handler's result says nothing about it. So the
//! layer around the handlers gives each request a place for it, in the task that serves the request.

use std::sync::{Arc, Mutex, PoisonError};

use fanfare_protocol::User;
use fanfare_protocol::revocation::TokenId;
use fanfare_protocol::rights::Rights;
use tokio::task::futures::TaskLocalFuture;

use crate::auth::{Bearer, Carrier};

tokio::task_local! {
    static CALLER: Place;
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

/// What was noted about the caller of a request. It outlives a request that is dropped before its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<Mutex<Option<Caller>>>);

impl Place {
    /// Returns what was noted, and forgets it.
    pub(crate) fn take(&self) -> Option<Caller> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves a request, with a place for its caller.
pub(crate) fn follow<F: Future>(place: Place, request: F) -> TaskLocalFuture<Place, F> {
    CALLER.scope(place, request)
}

/// Notes the caller of the request that this task serves.
pub(crate) fn note(bearer: &Bearer) {
    note_caller(bearer.into());
}

/// The same for the bearer of a token that has expired.
pub(crate) fn note_expired(user: &User, token: Option<TokenId>) {
    note_caller(Caller::of_expired(user.clone(), token));
}

fn note_caller(caller: Caller) {
    // A handler that is called without the layer, as in tests, has no place.
    let _ = CALLER.try_with(|Place(place)| {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(caller);
    });
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
        let callers = places.map(|place| place.take().and_then(|caller| caller.user));
        assert_eq!(callers, [Some(user("a")), Some(user("b")), None]);
        note_expired(&user("c"), None);
    }
}
