//! Timeouts and heartbeats of a connection.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::stream::StreamConfig;
use crate::ending::Ending;

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// None.
    Nothing,
    /// A heartbeat.
    Beat,
    /// The end, for a close reason.
    End(Ending),
    /// The end has started and the client did not close in time: drop the connection.
    Drop,
}

/// A connection's times. They are coarse and checked seldom: the shard has one timer for each connection, which is
/// reset when it fires and not with each write.
#[derive(Debug)]
pub(crate) struct Clock {
    opened: Instant,
    /// The last write. Before the first write, set so that a heartbeat is due [`HEAD_WAIT`] after the opening.
    written: Instant,
    /// When the socket was last full; `None` if the client is not slow.
    slow: Option<Instant>,
    /// Interval between probes of a client that has closed its sending half; `None` while both halves are open.
    probe: Option<Duration>,
    /// The last event queued, or the opening.
    event: Instant,
    /// Since when the client has received nothing although data is queued.
    blocked: Option<Instant>,
    /// Expiry of the token, or the end of the linger time once the end has started.
    until: Option<Instant>,
    /// Factor by which this stream may exceed the limits, so that streams that started together, or had their last
    /// event together, do not end together.
    grace: f64,
    ending: bool,
}

impl Clock {
    pub(crate) fn new(expires: Option<SystemTime>, settings: &StreamConfig) -> Self {
        let now = Instant::now();
        let left = expires.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        Self {
            opened: now,
            written: (now + HEAD_WAIT).checked_sub(settings.heartbeat.clamp(HEAD_WAIT, FAR)).unwrap_or(now),
            slow: None,
            probe: None,
            event: now,
            blocked: None,
            until: left.map(|left| now + left.min(FARTHEST)),
            grace: 1.0 + fastrand::f64() / 10.0,
            ending: false,
        }
    }

    pub(crate) fn event(&mut self, now: Instant) {
        self.event = now;
    }

    pub(crate) fn progress(&mut self, now: Instant) {
        self.written = now;
    }

    /// Handles a client that has closed its sending half. If it has closed both halves, it answers the next write
    /// with a reset, so heartbeats are sent as probes: at once, then after [`FIRST_PROBE`], and then at doubling
    /// intervals up to the heartbeat interval.
    pub(crate) fn half_closed(&mut self) {
        self.probe = Some(FIRST_PROBE);
    }

    /// Handles a due heartbeat.
    pub(crate) fn beaten(&mut self) {
        self.probe = self.probe.map(|interval| (interval * 2).min(FAR));
    }

    fn heartbeat(&self, settings: &StreamConfig) -> Duration {
        settings.heartbeat.min(self.probe.unwrap_or(FAR))
    }

    /// Handles a full socket; `some`: it accepted some bytes before.
    pub(crate) fn blocked(&mut self, some: bool) {
        if some || self.blocked.is_none() {
            self.blocked = Some(Instant::now());
        }
    }

    pub(crate) fn unblocked(&mut self) {
        if self.blocked.take().is_some() {
            self.slow = Some(Instant::now());
        }
    }

    /// Marks the client as slow. Returns whether it was not slow before.
    pub(crate) fn begin_to_tolerate(&mut self) -> bool {
        self.slow.replace(Instant::now()).is_none()
    }

    /// Returns whether the client was slow and has not been slow for `after`; it is no longer marked as slow then.
    pub(crate) fn end_to_tolerate(&mut self, after: Duration) -> bool {
        let over = self.blocked.is_none() && self.slow.is_some_and(|since| since.elapsed() >= after);
        if over {
            self.slow = None;
        }
        over
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    pub(crate) fn linger(&mut self, linger: Duration) {
        self.ending = true;
        self.until = Some(Instant::now() + linger);
    }

    /// Returns the time of the next check: at once, if something is due already.
    pub(crate) fn next_look(&self, settings: &StreamConfig) -> Instant {
        match self.look(settings) {
            (Due::Nothing, next) => next,
            _ => Instant::now(),
        }
    }

    /// Returns the action that is due, and the time of the next check after it.
    pub(crate) fn look(&self, settings: &StreamConfig) -> (Due, Instant) {
        let now = Instant::now();
        let mut next = now + FAR;
        let mut due = Due::Nothing;
        let mut check = |at: Option<Instant>, what: Due| {
            let Some(at) = at else { return };
            if at > now {
                next = next.min(at);
            } else if due == Due::Nothing {
                due = what;
            }
        };
        if self.ending {
            check(self.until, Due::Drop);
            return (due, next);
        }
        check(self.until, Due::End(Ending::Token));
        for (since, limit, ending) in
            [(self.opened, settings.max_age, Ending::Age), (self.event, settings.idle_timeout, Ending::Idle)]
        {
            check(some(limit).map(|limit| since + limit.mul_f64(self.grace)), Due::End(ending));
        }
        match self.blocked {
            Some(since) => {
                check(
                    some(settings.write_timeout).map(|limit| since + limit),
                    Due::End(Ending::WriteTimeout),
                );
            }
            None => check(Some(self.written + self.heartbeat(settings)), Due::Beat),
        }
        if due == Due::Beat {
            next = next.min(now + self.heartbeat(settings));
        }
        (due, next)
    }
}

/// Maximum time for which the head of a response waits for the first block, so that both leave in one write. If the
/// first block must wait for a log, the head is sent after this time.
const HEAD_WAIT: Duration = Duration::from_millis(100);
/// Time after the first probe in which a client that has closed both halves answers with a reset: enough on the same
/// machine or in the same data center.
const FIRST_PROBE: Duration = Duration::from_millis(2);
/// Maximum time of a timer: a timer wheel supports about two years.
const FAR: Duration = Duration::from_hours(24);
/// Times beyond this are never reached, so that sums do not overflow.
const FARTHEST: Duration = Duration::from_hours(24 * 365 * 100);

fn some(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then(|| duration.min(FARTHEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> StreamConfig {
        StreamConfig {
            heartbeat: Duration::from_secs(15),
            write_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            ..StreamConfig::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_is_due_after_silence_only() {
        let mut clock = Clock::new(None, &settings());
        assert_eq!(clock.look(&settings()).0, Due::Nothing);
        tokio::time::advance(Duration::from_secs(14)).await;
        clock.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(clock.look(&settings()).0, Due::Nothing);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.look(&settings()).0, Due::Beat);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_stream_says_something_soon() {
        let mut clock = Clock::new(None, &settings());
        let opened = Instant::now();
        assert_eq!(clock.look(&settings()), (Due::Nothing, opened + HEAD_WAIT));
        tokio::time::advance(HEAD_WAIT).await;
        assert_eq!(clock.look(&settings()).0, Due::Beat);
        clock.progress(Instant::now());
        assert_eq!(clock.look(&settings()), (Due::Nothing, Instant::now() + settings().heartbeat));
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_client_is_probed_at_intervals_that_grow_to_the_heartbeat() {
        let settings = StreamConfig { idle_timeout: Duration::ZERO, ..settings() };
        let mut clock = Clock::new(None, &settings);
        clock.progress(Instant::now());
        clock.half_closed();
        let (begun, mut probes) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_mins(2) {
            let (due, next) = clock.look(&settings);
            if due == Due::Beat {
                clock.beaten();
                clock.progress(Instant::now());
                probes += 1;
                continue;
            }
            tokio::time::advance(next - Instant::now()).await;
        }
        // 2 ms, 4 ms and so on to 8 s and 15 s, then each 15 s.
        assert!((18..=22).contains(&probes), "{probes}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_slow_until_its_socket_was_not_full_for_a_while() {
        let (mut clock, after) = (Clock::new(None, &settings()), Duration::from_secs(30));
        assert!(!clock.end_to_tolerate(after));
        clock.blocked(false);
        assert!(clock.begin_to_tolerate() && !clock.begin_to_tolerate());
        tokio::time::advance(after).await;
        assert!(!clock.end_to_tolerate(after));
        clock.unblocked();
        tokio::time::advance(after / 2).await;
        assert!(!clock.end_to_tolerate(after));
        tokio::time::advance(after / 2).await;
        assert!(clock.end_to_tolerate(after) && !clock.end_to_tolerate(after));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_times_out() {
        let mut clock = Clock::new(None, &settings());
        clock.blocked(false);
        tokio::time::advance(Duration::from_secs(4)).await;
        clock.blocked(true);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(clock.look(&settings()).0, Due::Nothing);
        clock.blocked(false);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.look(&settings()).0, Due::End(Ending::WriteTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_already_is_looked_at_at_once() {
        let settings = StreamConfig { linger: Duration::ZERO, ..settings() };
        let mut clock = Clock::new(None, &settings);
        tokio::time::advance(Duration::from_secs(66)).await;
        // Due: the end of an idle stream. The client is found stuck before anybody looks.
        clock.blocked(false);
        assert_eq!(clock.next_look(&settings), Instant::now());
        clock.linger(settings.linger);
        assert_eq!(clock.look(&settings).0, Due::Drop);
        assert_eq!(clock.next_look(&settings), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_and_an_old_token_end() {
        let mut clock = Clock::new(None, &settings());
        tokio::time::advance(Duration::from_secs(59)).await;
        clock.progress(Instant::now());
        let (due, next) = clock.look(&settings());
        let left = next - Instant::now();
        // Up to a tenth more than the limit.
        assert_eq!(due, Due::Nothing);
        assert!((Duration::from_secs(1)..=Duration::from_secs(7)).contains(&left), "{left:?}");
        tokio::time::advance(left).await;
        assert_eq!(clock.look(&settings()).0, Due::End(Ending::Idle));
        let settings = StreamConfig { heartbeat: Duration::from_hours(1), ..settings() };
        let ends = std::iter::repeat_with(|| {
            let mut clock = Clock::new(None, &settings);
            clock.progress(Instant::now());
            clock.look(&settings).1
        });
        let ends: std::collections::BTreeSet<Instant> = ends.take(100).collect();
        assert!(ends.len() > 1, "streams do not end together");
        let expires = SystemTime::now() + Duration::from_secs(3);
        let clock = Clock::new(Some(expires), &settings);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.look(&settings).0, Due::End(Ending::Token));
    }
}
