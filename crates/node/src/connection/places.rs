//! The sockets of each user's streams on this node, until they are closed.
//!
//! A stream that ended keeps its socket while its client receives the last bytes (`stream.linger`). So that clients
//! that never close cannot accumulate sockets, a user's sockets, including those of open streams, are limited to the
//! number of sessions. A new stream takes the place of the socket that has lingered longest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use fanfare_protocol::User;
use foldhash::fast::RandomState;

use crate::metrics::Metrics;

/// Counts sockets by user. Shared by the shards; lives as long as the hub.
#[derive(Debug)]
pub(crate) struct Places {
    /// Maximum number of sockets of one user, lingering ones included.
    per_user: usize,
    /// Maximum number of lingering sockets.
    most: usize,
    metrics: Arc<Metrics>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Users without sockets are not in it.
    by_user: HashMap<User, OfUser, RandomState>,
    lingering: usize,
}

#[derive(Debug, Default)]
struct OfUser {
    /// Number of open, lingering and closing sockets.
    sockets: usize,
    /// Number of closing sockets, which do not count.
    closing: usize,
    /// Lingering sockets, in the order in which their streams ended.
    lingering: VecDeque<(Arc<AtomicBool>, Waker)>,
}

/// The place of one socket. Released when it is dropped with the socket.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    user: Option<User>,
    /// Set once the stream has ended; true if the socket must be closed without waiting for the client.
    close: Option<Arc<AtomicBool>>,
}

impl Places {
    pub(crate) fn new(per_user: usize, most: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { per_user, most, metrics, taken: Mutex::default() })
    }

    /// Takes a place for a stream's socket, if necessary that of a lingering one.
    pub(crate) fn enter(self: &Arc<Self>, user: Option<User>) -> Place {
        if let Some(user) = &user {
            let mut taken = self.taken();
            let Taken { by_user, lingering } = &mut *taken;
            let of_user = by_user.entry(user.clone()).or_default();
            of_user.sockets += 1;
            while of_user.sockets - of_user.closing > self.per_user
                && let Some((close, waker)) = of_user.lingering.pop_front()
            {
                close.store(true, Ordering::Relaxed);
                of_user.closing += 1;
                *lingering -= 1;
                self.metrics.not_lingering.inc();
                waker.wake();
            }
            self.show(*lingering);
        }
        Place { places: Arc::clone(self), user, close: None }
    }

    fn show(&self, lingering: usize) {
        self.metrics.lingering.set(i64::try_from(lingering).unwrap_or(i64::MAX));
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Each change leaves a consistent state.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Lets the socket of an ended stream linger, if there is a place; `waker` is woken when the place is taken away.
    pub(crate) fn linger(&mut self, waker: &Waker) {
        let places = &*self.places;
        let mut taken = places.taken();
        let Taken { by_user, lingering } = &mut *taken;
        let mut of_user = self.user.as_ref().and_then(|user| by_user.get_mut(user));
        let fits = of_user.as_ref().is_none_or(|user| user.sockets - user.closing <= places.per_user);
        let lingers = fits && *lingering < places.most;
        let close = Arc::new(AtomicBool::new(!lingers));
        if lingers {
            *lingering += 1;
        } else {
            places.metrics.not_lingering.inc();
        }
        match &mut of_user {
            Some(of_user) if lingers => of_user.lingering.push_back((Arc::clone(&close), waker.clone())),
            Some(of_user) => of_user.closing += 1,
            None => {}
        }
        places.show(*lingering);
        self.close = Some(close);
    }

    /// Returns whether the socket may linger until the client closes; otherwise it must be closed after the last
    /// bytes.
    pub(crate) fn lingers(&self) -> bool {
        self.close.as_ref().is_some_and(|close| !close.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let Taken { by_user, lingering } = &mut *taken;
        let lingers = self.lingers();
        if lingers {
            *lingering -= 1;
            self.places.show(*lingering);
        }
        let Some(user) = &self.user else { return };
        let Some(of_user) = by_user.get_mut(user) else { return };
        of_user.sockets -= 1;
        match &self.close {
            Some(close) if lingers => of_user.lingering.retain(|(other, _)| !Arc::ptr_eq(other, close)),
            Some(_) => of_user.closing -= 1,
            None => {}
        }
        if of_user.sockets == 0 {
            by_user.remove(user);
        }
        if by_user.len() < by_user.capacity() / 8 {
            let room = by_user.len() * 2;
            by_user.shrink_to(room.max(64));
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn places(per_user: usize, most: usize) -> Arc<Places> {
        Places::new(per_user, most, Arc::new(Metrics::register(&mut Registry::default())))
    }

    fn ended(places: &Arc<Places>, user: impl Into<Option<User>>) -> Place {
        let mut place = places.enter(user.into());
        place.linger(Waker::noop());
        place
    }

    fn of(id: &str) -> User {
        User::new(id).unwrap()
    }

    #[test]
    fn a_users_open_and_ended_sockets_together_stay_within_the_limit() {
        let places = places(3, 100);
        let old = [ended(&places, of("7")), ended(&places, of("7"))];
        let open = places.enter(Some(of("7")));
        assert!(old.iter().all(Place::lingers));
        let newer = places.enter(Some(of("7")));
        assert_eq!(
            [old[0].lingers(), old[1].lingers()],
            [false, true],
            "the new one takes the oldest one's place"
        );
        let newest = places.enter(Some(of("7")));
        assert!(!old[1].lingers());
        let mut full = places.enter(Some(of("7")));
        full.linger(Waker::noop());
        assert!(!full.lingers(), "there are three open ones beside it");
        assert!(ended(&places, of("8")).lingers(), "another user is not concerned");
        drop((old, open, newer, newest, full));
        assert!(places.taken().by_user.is_empty());
        assert_eq!((places.taken().lingering, places.metrics.lingering.get()), (0, 0));
    }

    #[test]
    fn all_that_linger_are_bounded_too() {
        let places = places(3, 2);
        let all: Vec<Place> = (0..3).map(|_| ended(&places, None)).collect();
        assert_eq!(all.iter().map(Place::lingers).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(places.metrics.not_lingering.get(), 1);
        drop(all);
        assert!(ended(&places, None).lingers());
        assert_eq!((places.taken().lingering, places.metrics.lingering.get()), (0, 0));
    }
}
