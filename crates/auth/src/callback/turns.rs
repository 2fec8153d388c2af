//! Places of requests to the application. The networks of clients take turns, so that many requests of one of them do not keep
//! the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The places. Lives as long as the node.
#[derive(Debug)]
pub(super) struct Places {
    /// The places. Requests wait in order, of each network one.
    free: Semaphore,
    /// The queue of each network that has requests which wait: its only permit is the right to wait for a place.
    queues: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

/// The queue of a network, which is forgotten with its last request.
struct Queue<'a> {
    places: &'a Places,
    network: &'a str,
    /// `None` once this is dropped.
    turn: Option<Arc<Semaphore>>,
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self { free: Semaphore::new(places), queues: Mutex::default() }
    }

    /// Waits for a place: behind earlier requests of the same network, and behind one request of each other network at most.
    /// Never `None`, since neither semaphore is ever closed.
    pub(super) async fn enter(&self, network: &str) -> Option<SemaphorePermit<'_>> {
        let queue = self.queue(network);
        let _turn = queue.turn.as_ref()?.acquire().await.ok()?;
        self.free.acquire().await.ok()
    }

    fn queue<'a>(&'a self, network: &'a str) -> Queue<'a> {
        let mut queues = self.queues();
        let turn = queues.entry(network.into()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        let turn = Some(Arc::clone(turn));
        Queue { places: self, network, turn }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Semaphore>>> {
        // Each change leaves a consistent map.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        let mut queues = self.places.queues();
        // Under the lock: of two requests that end together, the later one finds the map's alone.
        drop(self.turn.take());
        if queues.get(self.network).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            queues.remove(self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    /// Starts requests of a network that wait for the only place, and note when they got it.
    fn wait(
        tasks: &mut JoinSet<(&'static str, usize)>,
        places: &Arc<Places>,
        order: &Arc<AtomicUsize>,
        (network, number): (&'static str, usize),
    ) {
        for _ in 0..number {
            let (places, order) = (Arc::clone(places), Arc::clone(order));
            tasks.spawn(async move {
                let _place = places.enter(network).await;
                (network, order.fetch_add(1, Ordering::Relaxed))
            });
        }
    }

    #[tokio::test]
    async fn a_network_with_many_requests_does_not_keep_the_others_out() {
        let (places, order) = (Arc::new(Places::new(1)), Arc::default());
        let mut tasks = JoinSet::new();
        let first = places.enter("first").await;
        wait(&mut tasks, &places, &order, ("many", 1000));
        wait(&mut tasks, &places, &order, ("few", 2));
        wait(&mut tasks, &places, &order, ("one", 1));
        // All of them wait, in this order.
        tokio::task::yield_now().await;
        drop(first);
        let got = tasks.join_all().await;
        let last = |network| got.iter().filter(|(of, _)| *of == network).map(|(_, at)| *at).max().unwrap();
        assert!(last("one") <= 3 && last("few") <= 6, "one: {}, few: {}", last("one"), last("few"));
        assert_eq!(last("many"), 1002);
        assert!(places.queues().is_empty() && places.free.available_permits() == 1);
    }

    #[tokio::test]
    async fn all_places_are_for_whoever_asks_and_nothing_stays_of_who_leaves() {
        let places = Arc::new(Places::new(8));
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(places.enter("alone").await);
        }
        let order = Arc::default();
        let mut tasks = JoinSet::new();
        wait(&mut tasks, &places, &order, ("alone", 5));
        tokio::task::yield_now().await;
        assert_eq!(places.queues().len(), 1);
        tasks.shutdown().await;
        assert!(places.queues().is_empty());
        drop(held);
        assert_eq!(places.free.available_permits(), 8);
    }
}
