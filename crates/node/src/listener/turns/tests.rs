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
    assert_eq!(turns.call(), Called::Batch);
    assert!(poll(USEFUL) && poll(1), "it was called, and its turn was of use");
    assert_eq!(turns.call(), Called::None, "nothing else waits");
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
    assert_eq!(turns.call(), Called::Batch);
    let _ = request.as_mut().poll(&mut cx);
    assert_eq!(used.moved.load(Ordering::Relaxed), 1, "only the connection's turns are judged");
}

#[test]
fn many_that_dribble_are_paced_and_all_others_come_first() {
    let turns = Turns::default();
    turns.queue().taken = BATCH;
    let few: Vec<_> = (0..CROWD).filter_map(|_| turns.enter(true)).collect();
    let other = turns.enter(false).unwrap();
    assert_eq!(turns.call(), Called::Batch, "few are not paced");
    assert!(other.called.load(Ordering::Relaxed), "it came last");
    let called = few.iter().filter(|ticket| ticket.called.load(Ordering::Relaxed)).count();
    assert_eq!(called, BATCH - 1);

    for _ in 0..2 * BATCH {
        assert!(turns.enter(true).is_some());
    }
    assert_eq!(turns.call(), Called::Crowd);
    assert!(turns.enter(false).is_some());
    assert_eq!(turns.call(), Called::Batch, "another is not paced with them");
    while turns.call() != Called::None {}
    assert!(few.iter().all(|ticket| ticket.called.load(Ordering::Relaxed)));
}

#[test]
fn a_connection_dribbles_after_turns_with_few_bytes() {
    let used = Use::default();
    let turn = |moved: usize| {
        used.moved(moved);
        used.end_turn();
        used.dribbles()
    };
    assert!(!turn(0), "a step of a handler");
    assert!(turn(1), "a first turn with few bytes");
    assert!(!turn(USEFUL));
    assert!([1; SPARE - 1].iter().all(|moved| !turn(*moved)));
    assert!(turn(1) && turn(0) && turn(1));
    assert!(!turn(USEFUL), "a piece of a useful size");
}
