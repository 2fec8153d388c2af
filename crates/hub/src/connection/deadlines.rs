//! Timeouts and heartbeats of a connection.

use std::time::{Duration, SystemTime};

use fanfare_broker::session::CloseReason;
use fanfare_config::stream::StreamConfig;
use tokio::time::Instant;

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// None.
    Nothing,
    /// A heartbeat.
    Heartbeat,
    /// The end, for a close reason.
    End(CloseReason),
    /// The end has started and the client did not close in time: drop the connection.
    Drop,
}

/// A connection's deadlines. They are coarse and checked seldom: the shard has one timer for each connection, which is
/// reset when it fires and not with each write.
#[derive(Debug)]
pub(crate) struct Deadlines {
    opened: Instant,
    /// The last write. Before the first write, set so that a heartbeat is due [`HEAD_WAIT`] after the opening.
    written: Instant,
    /// Interval of silence after which a heartbeat is due.
    heartbeat: Duration,
    /// The last write after a silence of more than [`REPLY`].
    woken: Instant,
    /// That silence, in milliseconds; 0 if there was none.
    silent_before_ms: u32,
    /// How long the connection was silent when the client closed its sending half; `None` while both halves are open.
    silence_at_close_ms: Option<u32>,
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
    closing: bool,
}

impl Deadlines {
    pub(crate) fn new(expires: Option<SystemTime>, heartbeat: Duration) -> Self {
        let now = Instant::now();
        Self {
            opened: now,
            written: (now + HEAD_WAIT).checked_sub(heartbeat.clamp(HEAD_WAIT, FAR)).unwrap_or(now),
            heartbeat,
            woken: now,
            silent_before_ms: 0,
            silence_at_close_ms: None,
            slow: None,
            probe: None,
            event: now,
            blocked: None,
            until: expires.map(|at| instant(at, now)),
            grace: 1.0 + fastrand::f64() / 10.0,
            closing: false,
        }
    }

    /// Sets the expiry of the token, unless the end has started.
    pub(crate) fn expire_at(&mut self, expires: Option<SystemTime>) {
        if !self.closing {
            self.until = expires.map(|at| instant(at, Instant::now()));
        }
    }

    pub(crate) fn event(&mut self, now: Instant) {
        self.event = now;
    }

    pub(crate) fn progress(&mut self, now: Instant) {
        let silent = now.duration_since(self.written);
        // Before the first write, `written` is none.
        if silent > REPLY && self.written >= self.opened {
            (self.woken, self.silent_before_ms) = (now, ms(silent));
        }
        self.written = now;
    }

    /// Handles a client that has closed its sending half. If it has closed both halves, it answers the next write
    /// with a reset, so heartbeats are sent as probes: at once, then after [`FIRST_PROBE`], and then at doubling
    /// intervals up to the heartbeat interval.
    pub(crate) fn half_closed(&mut self) {
        self.silence_at_close_ms = Some(self.silence_ms());
        self.probe = Some(FIRST_PROBE);
    }

    /// Returns how long the connection has been silent, in milliseconds; before the last write, if it was written to only now:
    /// something on the way that has forgotten the connection closes it in reply to a write.
    fn silence_ms(&self) -> u32 {
        let now = Instant::now();
        let silent = (now - self.written).min(now - self.opened);
        if self.silent_before_ms > 0 && now - self.woken < REPLY { self.silent_before_ms } else { ms(silent) }
    }

    /// Returns the silence in which the connection was lost, if that may be why it ends. A heartbeat cannot be shorter than
    /// `stream.min_heartbeat`, so it prevents the loss only after a longer silence.
    pub(crate) fn lost_in_silence(&self, reason: CloseReason, settings: &StreamConfig) -> Option<Duration> {
        if self.is_blocked() || self.closing || settings.heartbeat_memory.is_zero() {
            return None;
        }
        let silence = match reason {
            CloseReason::Closed | CloseReason::Superseded => {
                self.silence_at_close_ms.unwrap_or_else(|| self.silence_ms())
            }
            // The write after the silence was not acknowledged, and heartbeats after it.
            CloseReason::PeerTimeout if self.woken.elapsed() < self.heartbeat + REPLY => {
                self.silent_before_ms
            }
            _ => return None,
        };
        let silence = Duration::from_millis(silence.into());
        (silence > settings.min_heartbeat).then_some(silence)
    }

    /// Handles a due heartbeat.
    pub(crate) fn heartbeat_sent(&mut self) {
        self.probe = self.probe.map(|interval| (interval * 2).min(FAR));
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat.min(self.probe.unwrap_or(FAR))
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
    pub(crate) fn mark_slow(&mut self) -> bool {
        self.slow.replace(Instant::now()).is_none()
    }

    /// Returns whether the client was slow and has not been slow for `after`; it is no longer marked as slow then.
    pub(crate) fn clear_slow(&mut self, after: Duration) -> bool {
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
        self.closing = true;
        self.until = Some(Instant::now() + linger);
    }

    /// Returns the action that is due, and the time of the next check after it.
    pub(crate) fn check(&self, settings: &StreamConfig) -> (Due, Instant) {
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
        if self.closing {
            check(self.until, Due::Drop);
            return (due, next);
        }
        check(self.until, Due::End(CloseReason::Expired));
        for (since, limit, reason) in [
            (self.opened, settings.max_age, CloseReason::Age),
            (self.event, settings.idle_timeout, CloseReason::Idle),
        ] {
            check(some(limit).map(|limit| since + limit.mul_f64(self.grace)), Due::End(reason));
        }
        match self.blocked {
            Some(since) => {
                check(
                    some(settings.write_timeout).map(|limit| since + limit),
                    Due::End(CloseReason::WriteTimeout),
                );
            }
            None => check(Some(self.written + self.heartbeat()), Due::Heartbeat),
        }
        if due == Due::Heartbeat {
            next = next.min(now + self.heartbeat());
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
/// Maximum time in which the client's side replies to a write that it has forgotten the connection.
const REPLY: Duration = Duration::from_secs(1);
/// Maximum time of a timer: a timer wheel supports about two years.
const FAR: Duration = Duration::from_hours(24);
/// Times beyond this are never reached, so that sums do not overflow.
const FARTHEST: Duration = Duration::from_hours(24 * 365 * 100);

/// Returns the instant of a time; now if it is past.
fn instant(time: SystemTime, now: Instant) -> Instant {
    now + time.duration_since(SystemTime::now()).unwrap_or_default().min(FARTHEST)
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

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
        let mut deadlines = Deadlines::new(None, settings().heartbeat);
        assert_eq!(deadlines.check(&settings()).0, Due::Nothing);
        tokio::time::advance(Duration::from_secs(14)).await;
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(deadlines.check(&settings()).0, Due::Nothing);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(deadlines.check(&settings()).0, Due::Heartbeat);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_stream_gets_bytes_soon() {
        let mut deadlines = Deadlines::new(None, settings().heartbeat);
        let opened = Instant::now();
        assert_eq!(deadlines.check(&settings()), (Due::Nothing, opened + HEAD_WAIT));
        tokio::time::advance(HEAD_WAIT).await;
        assert_eq!(deadlines.check(&settings()).0, Due::Heartbeat);
        deadlines.progress(Instant::now());
        assert_eq!(deadlines.check(&settings()), (Due::Nothing, Instant::now() + settings().heartbeat));
    }

    /// Deadlines of a connection that was opened, written to, and silent for so many seconds.
    async fn silent_for(seconds: u64) -> Deadlines {
        let mut deadlines = Deadlines::new(None, settings().heartbeat);
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(seconds)).await;
        deadlines
    }

    fn lost(deadlines: &Deadlines, reason: CloseReason) -> Option<u64> {
        let silence = deadlines.lost_in_silence(reason, &settings());
        silence.map(|silence| silence.as_millis().try_into().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_closed_after_a_silence_may_be_lost_in_it() {
        let deadlines = silent_for(12).await;
        for reason in [CloseReason::Closed, CloseReason::Superseded] {
            assert_eq!(lost(&deadlines, reason), Some(12_000));
        }
        for reason in [CloseReason::Shutdown, CloseReason::Expired, CloseReason::Polled] {
            assert_eq!(lost(&deadlines, reason), None);
        }
        // The shortest heartbeat would not help.
        assert_eq!(lost(&silent_for(5).await, CloseReason::Closed), None);
        let off = StreamConfig { heartbeat_memory: Duration::ZERO, ..settings() };
        assert_eq!(deadlines.lost_in_silence(CloseReason::Closed, &off), None);
        // Nothing was written.
        let deadlines = Deadlines::new(None, settings().heartbeat);
        assert_eq!(lost(&deadlines, CloseReason::Closed), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_closed_in_reply_to_a_write_was_lost_before_it() {
        let mut deadlines = silent_for(12).await;
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_millis(300)).await;
        deadlines.progress(Instant::now());
        assert_eq!(lost(&deadlines, CloseReason::Closed), Some(12_000));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lost(&deadlines, CloseReason::Closed), None);
        // A client that closes both halves is closed for good by what the node writes then.
        let mut deadlines = silent_for(12).await;
        deadlines.half_closed();
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(lost(&deadlines, CloseReason::Closed), Some(12_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_is_not_acknowledged_follows_a_silence_that_was_too_long() {
        let mut deadlines = silent_for(15).await;
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(15)).await;
        deadlines.progress(Instant::now());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(lost(&deadlines, CloseReason::PeerTimeout), Some(15_000));
        // Events were written all the time.
        let mut deadlines = silent_for(15).await;
        for _ in 0..60 {
            deadlines.progress(Instant::now());
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert_eq!(lost(&deadlines, CloseReason::PeerTimeout), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_client_is_probed_at_intervals_that_grow_to_the_heartbeat() {
        let settings = StreamConfig { idle_timeout: Duration::ZERO, ..settings() };
        let mut deadlines = Deadlines::new(None, settings.heartbeat);
        deadlines.progress(Instant::now());
        deadlines.half_closed();
        let (begun, mut probes) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_mins(2) {
            let (due, next) = deadlines.check(&settings);
            if due == Due::Heartbeat {
                deadlines.heartbeat_sent();
                deadlines.progress(Instant::now());
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
        let (mut deadlines, after) = (Deadlines::new(None, settings().heartbeat), Duration::from_secs(30));
        assert!(!deadlines.clear_slow(after));
        deadlines.blocked(false);
        assert!(deadlines.mark_slow() && !deadlines.mark_slow());
        tokio::time::advance(after).await;
        assert!(!deadlines.clear_slow(after));
        deadlines.unblocked();
        tokio::time::advance(after / 2).await;
        assert!(!deadlines.clear_slow(after));
        tokio::time::advance(after / 2).await;
        assert!(deadlines.clear_slow(after) && !deadlines.clear_slow(after));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_reads_nothing_times_out() {
        let mut deadlines = Deadlines::new(None, settings().heartbeat);
        deadlines.blocked(false);
        tokio::time::advance(Duration::from_secs(4)).await;
        deadlines.blocked(true);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(deadlines.check(&settings()).0, Due::Nothing);
        deadlines.blocked(false);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(deadlines.check(&settings()).0, Due::End(CloseReason::WriteTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn overdue_actions_are_checked_at_once() {
        let settings = StreamConfig { linger: Duration::ZERO, ..settings() };
        let mut deadlines = Deadlines::new(None, settings.heartbeat);
        tokio::time::advance(Duration::from_secs(66)).await;
        // The end of an idle stream is due. The client blocks before the next check.
        deadlines.blocked(false);
        assert_eq!(deadlines.check(&settings).0, Due::End(CloseReason::Idle));
        deadlines.linger(settings.linger);
        assert_eq!(deadlines.check(&settings).0, Due::Drop);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_and_an_old_token_end() {
        let mut deadlines = Deadlines::new(None, settings().heartbeat);
        tokio::time::advance(Duration::from_secs(59)).await;
        deadlines.progress(Instant::now());
        let (due, next) = deadlines.check(&settings());
        let left = next - Instant::now();
        // Up to a tenth more than the limit.
        assert_eq!(due, Due::Nothing);
        assert!((Duration::from_secs(1)..=Duration::from_secs(7)).contains(&left), "{left:?}");
        tokio::time::advance(left).await;
        assert_eq!(deadlines.check(&settings()).0, Due::End(CloseReason::Idle));
        let settings = StreamConfig { heartbeat: Duration::from_hours(1), ..settings() };
        let ends = std::iter::repeat_with(|| {
            let mut deadlines = Deadlines::new(None, settings.heartbeat);
            deadlines.progress(Instant::now());
            deadlines.check(&settings).1
        });
        let ends: std::collections::BTreeSet<Instant> = ends.take(100).collect();
        assert!(ends.len() > 1, "streams do not end together");
        let expires = SystemTime::now() + Duration::from_secs(3);
        let deadlines = Deadlines::new(Some(expires), settings.heartbeat);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(deadlines.check(&settings).0, Due::End(CloseReason::Expired));
    }
}
