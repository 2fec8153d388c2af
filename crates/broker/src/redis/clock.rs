//! What time it is at Redis, without asking each time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::Value;
use tokio::time::Instant;

use super::error::unexpected;
use super::reply::millis;
use crate::BrokerError;

/// How long an answer is good before somebody asks again, while the others still go by it.
const FRESH: Duration = Duration::from_secs(1);
/// How long an answer is good at all: in this time a Redis with another clock may have taken over.
const GOOD: Duration = Duration::from_secs(3);

/// The clock of Redis, from the last answer and the time since then. Late by what the answer took at most.
#[derive(Debug, Default)]
pub(super) struct Clock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Unix milliseconds at Redis, and when that was.
    known: Option<(u64, Instant)>,
    /// When somebody asked last.
    asked: Option<Instant>,
}

impl Clock {
    /// Unix milliseconds at Redis; none if the caller must send `TIME` and tell the answer.
    pub(super) fn now(&self) -> Option<u64> {
        let mut state = self.state();
        let now = Instant::now();
        let (then, at) = state.known.filter(|(_, at)| now - *at < GOOD)?;
        if now - at >= FRESH && state.asked.is_none_or(|asked| now - asked >= FRESH) {
            state.asked = Some(now);
            return None;
        }
        Some(then.saturating_add(millis(now - at)))
    }

    /// Takes the answer to `TIME`. Answers it in Unix milliseconds.
    pub(super) fn tell(&self, reply: Value) -> Result<u64, BrokerError> {
        let parts: Option<(u64, u64)> = ::redis::from_redis_value(reply).ok();
        let (seconds, micros) = parts.ok_or_else(|| unexpected("a time"))?;
        let then = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        self.state().known = Some((then, Instant::now()));
        Ok(then)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Value {
        Value::Array(vec![Value::BulkString(seconds.to_string().into()), Value::BulkString(b"5000".into())])
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_now_and_then_and_the_others_go_by_it() {
        let clock = Clock::default();
        assert_eq!((clock.now(), clock.now()), (None, None));
        assert_eq!(clock.tell(time(7)).unwrap(), 7005);
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(clock.now(), Some(7905));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!((clock.now(), clock.now()), (None, Some(8105)));
        // Nobody heard the answer: another one asks.
        tokio::time::advance(FRESH).await;
        assert_eq!((clock.now(), clock.now()), (None, Some(9105)));
        tokio::time::advance(FRESH).await;
        assert_eq!((clock.now(), clock.now()), (None, None));
        assert!(clock.tell(Value::Nil).is_err());
    }
}
