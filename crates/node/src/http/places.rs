//! Concurrency limit of calls with large responses, for the node and for each user.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use fanfare_protocol::User;
use hyper::body::{Frame, SizeHint};

/// The places. Lives as long as the node.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_of_user: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Number of places of each user that has one.
    users: HashMap<User, usize>,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The limit of the node.
    Node,
    /// The limit of the user.
    User,
}

/// One place. Released when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    user: Option<User>,
}

impl Places {
    /// Creates `most` places, at most `most_of_user` for each user. Callers without a user have no separate limit.
    pub fn new(most: usize, most_of_user: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_user, taken: Mutex::default() })
    }

    /// Takes a place. The user's limit is checked first and reported in preference to the node's limit.
    ///
    /// # Errors
    ///
    /// Fails if there is no place.
    pub fn enter(self: &Arc<Self>, user: Option<&User>) -> Result<Place, Full> {
        let mut taken = self.taken();
        let of_user = user.and_then(|user| taken.users.get(user)).copied().unwrap_or_default();
        if of_user >= self.most_of_user {
            return Err(Full::User);
        }
        if taken.all >= self.most {
            return Err(Full::Node);
        }
        taken.all += 1;
        if let Some(user) = user {
            taken.users.insert(user.clone(), of_user + 1);
        }
        Ok(Place { places: Arc::clone(self), user: user.cloned() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Each change leaves consistent counts.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(user) = &self.user else { return };
        match taken.users.get_mut(user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.users.remove(user)),
        }
    }
}

impl Place {
    /// Returns a body that holds the place until it was written or dropped.
    pub fn until_written(self, bytes: Bytes) -> Body {
        Body::new(Written { body: Body::from(bytes), _place: self })
    }
}

struct Written {
    body: Body,
    _place: Place,
}

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_places_for_the_others_and_nothing_of_them_stays() {
        let places = Places::new(5, 2);
        let (ann, bob) = (User::new("ann").unwrap(), User::new("bob").unwrap());
        let anns = [places.enter(Some(&ann)).unwrap(), places.enter(Some(&ann)).unwrap()];
        assert_eq!(places.enter(Some(&ann)).unwrap_err(), Full::User);
        let others = [places.enter(Some(&bob)), places.enter(None), places.enter(None)].map(Result::unwrap);
        assert_eq!(places.enter(Some(&bob)).unwrap_err(), Full::Node);
        assert_eq!(places.enter(Some(&ann)).unwrap_err(), Full::User, "the nearer reason");
        let [first, second] = anns;
        drop(first);
        let body = places.enter(Some(&ann)).unwrap().until_written(Bytes::from_static(b"x"));
        assert_eq!(places.enter(Some(&ann)).unwrap_err(), Full::User);
        drop((body, second, others));
        let taken = places.taken();
        assert!(taken.all == 0 && taken.users.is_empty(), "{taken:?}");
    }
}
