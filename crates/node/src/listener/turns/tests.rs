use std::future::pending;

use tokio::task::JoinSet;

use super::*;

/// What ran, in order.
type Order = Arc<Mutex<Vec<&'static str>>>;

/// Starts tasks of connections that have not moved a byte in their first turn.
fn crowd(turns: &Arc<Turns>, count: usize, order: &Order) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let order = Arc::clone(order);
        let used = Arc::<Use>::default();
        used.end_turn();
        tasks.spawn(turns.connection(used, async move { order.lock().unwrap().push("crowd") }));
    }
    tasks
}

#[tokio::test]
async fn a_task_that_wakes_another_passes_a_crowd() {
    let turns = Arc::<Turns>::default();
    let calls = tokio::spawn(Arc::clone(&turns).run());
    let order = Order::default();
    let crowd = crowd(&turns, 1000, &order);
    // As an event does: each step waits until the tasks before it have run.
    for _ in 0..5 {
        let order = Arc::clone(&order);
        tokio::spawn(async move { order.lock().unwrap().push("other") }).await.unwrap();
    }
    let before = order.lock().unwrap().iter().filter(|name| **name == "crowd").count();
    assert!(before <= 100, "{before} of the crowd came first");
    crowd.join_all().await;
    assert_eq!(order.lock().unwrap().len(), 1005);
    calls.abort();
}

#[tokio::test]
async fn a_connection_waits_only_after_turns_with_few_bytes() {
    let turns = Arc::<Turns>::default();
    // Nothing calls, so one that waits stays there.
    turns.queue().taken = BATCH;
    let used = Arc::<Use>::default();
    used.moved(USEFUL);
    used.end_turn();
    let polls = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&polls);
    let moves = Arc::<AtomicUsize>::default();
    let (next, user) = (Arc::clone(&moves), Arc::clone(&used));
    let mut work = Box::pin(turns.connection(used, async move {
        poll_fn(|_| {
            counter.fetch_add(1, Ordering::Relaxed);
            user.moved(next.load(Ordering::Relaxed));
            Poll::<()>::Pending
        })
        .await;
    }));
    let mut poll = |moved: usize| {
        moves.store(moved, Ordering::Relaxed);
        let before = polls.load(Ordering::Relaxed);
        assert!(work.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        polls.load(Ordering::Relaxed) > before
    };
    // Turns without bytes are steps of a handler.
    for moved in [1, 0, 0, 0, 0, 0, 1, 1, USEFUL, 1, USEFUL - 1, 1, 1] {
        assert!(poll(moved), "{moved}");
    }
    assert!(!poll(USEFUL), "it waits");
    assert!(turns.call());
    assert!(poll(USEFUL) && poll(1), "it was called, and its turn was of use");
    assert!(!turns.call(), "nothing else waits");
}

#[test]
fn a_connection_has_one_turn_to_move_its_first_bytes() {
    let used = Use::default();
    assert!(used.has_spare());
    used.end_turn();
    assert!(!used.has_spare());
    used.moved(USEFUL);
    used.end_turn();
    used.end_turn();
    assert!(used.has_spare(), "later, a turn without bytes is a step of a handler");
}

#[tokio::test]
async fn a_request_waits_with_its_connection() {
    let turns = Arc::<Turns>::default();
    turns.queue().taken = BATCH;
    let used = Arc::<Use>::default();
    used.end_turn();
    let mut request = Box::pin(turns.request(Arc::clone(&used), pending::<()>()));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(request.as_mut().poll(&mut cx).is_pending());
    assert_eq!(turns.queue().tickets.len(), 1);
    used.moved(1);
    let _ = request.as_mut().poll(&mut cx);
    assert!(turns.call());
    let _ = request.as_mut().poll(&mut cx);
    assert_eq!(used.moved.load(Ordering::Relaxed), 1, "only the connection's turns are judged");
}
