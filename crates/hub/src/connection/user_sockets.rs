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

use crate::metrics::HubMetrics;

/// Counts sockets by user. Shared by the shards; lives as long as the hub.
#[derive(Debug)]
pub(crate) struct UserSockets {
    /// Maximum number of sockets of one user, lingering ones included.
    per_user: usize,
    /// Maximum number of lingering sockets.
    most: usize,
    metrics: Arc<HubMetrics>,
    counts: Mutex<SocketCounts>,
}

#[derive(Debug, Default)]
struct SocketCounts {
    /// Users without sockets are not in it.
    by_user: HashMap<User, CountsOfUser, RandomState>,
    lingering: usize,
}

#[derive(Debug, Default)]
struct CountsOfUser {
    /// Number of open, lingering and closing sockets.
    sockets: usize,
    /// Number of closing sockets, which do not count.
    closing: usize,
    /// Lingering sockets, in the order in which their streams ended.
    lingering: VecDeque<(Arc<AtomicBool>, Waker)>,
}

/// The place of one socket. Released when it is dropped with the socket.
#[derive(Debug)]
pub(crate) struct UserSocket {
    user_sockets: Arc<UserSockets>,
    user: Option<User>,
    /// Set once the stream has ended; true if the socket must be closed without waiting for the client.
    close: Option<Arc<AtomicBool>>,
}

impl UserSockets {
    pub(crate) fn new(per_user: usize, most: usize, metrics: Arc<HubMetrics>) -> Arc<Self> {
        Arc::new(Self { per_user, most, metrics, counts: Mutex::default() })
    }

    /// Takes a place for a stream's socket, if necessary that of a lingering one.
    pub(crate) fn enter(self: &Arc<Self>, user: Option<User>) -> UserSocket {
        if let Some(user) = &user {
            let mut counts = self.counts();
            let SocketCounts { by_user, lingering } = &mut *counts;
            let of_user = by_user.entry(user.clone()).or_default();
            of_user.sockets += 1;
            while of_user.sockets - of_user.closing > self.per_user
                && let Some((close, waker)) = of_user.lingering.pop_front()
            {
                close.store(true, Ordering::Relaxed);
                of_user.closing += 1;
                *lingering -= 1;
                self.metrics.lingering_skipped.inc();
                waker.wake();
            }
            self.show(*lingering);
        }
        UserSocket { user_sockets: Arc::clone(self), user, close: None }
    }

    fn show(&self, lingering: usize) {
        self.metrics.lingering.set(i64::try_from(lingering).unwrap_or(i64::MAX));
    }

    fn counts(&self) -> MutexGuard<'_, SocketCounts> {
        // Each change leaves a consistent state.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserSocket {
    /// Lets the socket of an ended stream linger, if there is a place; `waker` is woken when the place is taken away.
    pub(crate) fn linger(&mut self, waker: &Waker) {
        let user_sockets = &*self.user_sockets;
        let mut counts = user_sockets.counts();
        let SocketCounts { by_user, lingering } = &mut *counts;
        let mut of_user = self.user.as_ref().and_then(|user| by_user.get_mut(user));
        let fits = of_user.as_ref().is_none_or(|user| user.sockets - user.closing <= user_sockets.per_user);
        let lingers = fits && *lingering < user_sockets.most;
        let close = Arc::new(AtomicBool::new(!lingers));
        if lingers {
            *lingering += 1;
        } else {
            user_sockets.metrics.lingering_skipped.inc();
        }
        match &mut of_user {
            Some(of_user) if lingers => of_user.lingering.push_back((Arc::clone(&close), waker.clone())),
            Some(of_user) => of_user.closing += 1,
            None => {}
        }
        user_sockets.show(*lingering);
        self.close = Some(close);
    }

    /// Returns whether the socket may linger until the client closes; otherwise it must be closed after the last
    /// bytes.
    pub(crate) fn lingers(&self) -> bool {
        self.close.as_ref().is_some_and(|close| !close.load(Ordering::Relaxed))
    }
}

impl Drop for UserSocket {
    fn drop(&mut self) {
        let mut counts = self.user_sockets.counts();
        let SocketCounts { by_user, lingering } = &mut *counts;
        let lingers = self.lingers();
        if lingers {
            *lingering -= 1;
            self.user_sockets.show(*lingering);
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

    fn user_sockets(per_user: usize, most: usize) -> Arc<UserSockets> {
        UserSockets::new(per_user, most, Arc::new(HubMetrics::register(&mut Registry::default())))
    }

    fn ended(user_sockets: &Arc<UserSockets>, user: impl Into<Option<User>>) -> UserSocket {
        let mut socket = user_sockets.enter(user.into());
        socket.linger(Waker::noop());
        socket
    }

    fn of(id: &str) -> User {
        User::new(id).unwrap()
    }

    #[test]
    fn a_users_open_and_ended_sockets_together_stay_within_the_limit() {
        let user_sockets = user_sockets(3, 100);
        let old = [ended(&user_sockets, of("7")), ended(&user_sockets, of("7"))];
        let open = user_sockets.enter(Some(of("7")));
        assert!(old.iter().all(UserSocket::lingers));
        let newer = user_sockets.enter(Some(of("7")));
        assert_eq!(
            [old[0].lingers(), old[1].lingers()],
            [false, true],
            "the new one takes the oldest one's place"
        );
        let newest = user_sockets.enter(Some(of("7")));
        assert!(!old[1].lingers());
        let mut full = user_sockets.enter(Some(of("7")));
        full.linger(Waker::noop());
        assert!(!full.lingers(), "there are three open ones beside it");
        assert!(ended(&user_sockets, of("8")).lingers(), "another user is not concerned");
        drop((old, open, newer, newest, full));
        assert!(user_sockets.counts().by_user.is_empty());
        assert_eq!((user_sockets.counts().lingering, user_sockets.metrics.lingering.get()), (0, 0));
    }

    #[test]
    fn lingering_sockets_of_the_node_are_limited() {
        let user_sockets = user_sockets(3, 2);
        let all: Vec<UserSocket> = (0..3).map(|_| ended(&user_sockets, None)).collect();
        assert_eq!(all.iter().map(UserSocket::lingers).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(user_sockets.metrics.lingering_skipped.get(), 1);
        drop(all);
        assert!(ended(&user_sockets, None).lingers());
        assert_eq!((user_sockets.counts().lingering, user_sockets.metrics.lingering.get()), (0, 0));
    }
}
