//! Budget of concurrent log reads, in bytes.
//!
//! Streams and history calls share it. Publishing, sessions and leases do not need it: however much is read, Redis
//! and the network are free for them after this number of bytes.
//!
//! Each read counts and logs the malformed entries that it skips, for streams and history calls alike.

use std::sync::Arc;

use bytesize::ByteSize;
use fanfare_broker::log::{ENTRY_BYTES, Likely, Page, PageLimit, SHORT, event_bytes};
use fanfare_broker::{BrokerError, EventLog};
use fanfare_protocol::event::MAX_TYPE_BYTES;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};
use fanfare_telemetry::Throttle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::log_clock::LogClock;
use crate::metrics::HubMetrics;

/// Maximum number of concurrent calls that count back from the newest event. For each, Redis copies about
/// [`NEWEST_BYTES`](fanfare_broker::log::NEWEST_BYTES).
const COUNTS: usize = 2;
/// Maximum number of concurrent reads of history calls, and so of those that are queued before the reads of streams.
const HISTORIES: usize = 2;
/// Maximum bytes of a read of a likely short page, which are reserved whatever its events have. With larger events, scripts
/// read all pages.
const MAX_SHORT: usize = 256 * 1024;
/// Limit of one read of a history call, which takes Redis a millisecond or two.
const STEP: PageLimit = PageLimit { entries: 250, bytes: 256 * 1024, likely: Likely::Long };

/// A node's budget. Lives as long as the node.
#[derive(Debug)]
pub struct ReadBudget {
    /// One permit for each byte. Reads wait in order.
    room: Semaphore,
    total: u32,
    counts: Semaphore,
    histories: Semaphore,
    /// Bytes of a read of a likely short page of the largest events, if such reads are allowed.
    short: Option<usize>,
    /// Clock of Redis, set by each page.
    clock: LogClock,
    metrics: Arc<HubMetrics>,
}

impl ReadBudget {
    /// Creates a budget of this size, at most 4 GiB, for events with data of at most `max_data` bytes.
    pub fn new(bytes: ByteSize, max_data: usize, metrics: Arc<HubMetrics>) -> Self {
        let short = SHORT * (max_data + MAX_TYPE_BYTES + ENTRY_BYTES);
        let total = u32::try_from(bytes.as_u64()).unwrap_or(u32::MAX);
        let room = Semaphore::new(usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS));
        Self {
            room,
            total,
            counts: Semaphore::new(COUNTS),
            histories: Semaphore::new(HISTORIES),
            short: Some(short).filter(|short| *short <= MAX_SHORT),
            clock: LogClock::new(),
            metrics,
        }
    }

    /// Returns the upper bound of the clock that assigns positions; `None` before the first page.
    pub(crate) fn latest(&self, at: Instant) -> Option<u64> {
        self.clock.latest(at)
    }

    /// Returns how a page is read that is likely short.
    pub(crate) fn likely_short(&self) -> Likely {
        let latest = self.short.and_then(|_| self.clock.fresh(Instant::now()));
        latest.map_or(Likely::Long, |latest| Likely::Short { latest })
    }

    /// Returns how a page is read that is likely empty.
    pub(crate) fn likely_empty(&self) -> Likely {
        Likely::Empty { timed: self.clock.is_due(Instant::now()) }
    }

    /// Looks up a start position.
    ///
    /// # Errors
    ///
    /// Returns the broker's errors.
    pub async fn locate(
        &self,
        log: &dyn EventLog,
        channel: &Channel,
        from: StartAt,
    ) -> Result<Position, BrokerError> {
        // The semaphore is never closed.
        let _turn = match from {
            StartAt::Newest(_) => self.counts.acquire().await.ok(),
            _ => None,
        };
        log.locate(channel, from).await
    }

    /// Reads a page for a history call, in steps between which Redis serves other commands.
    ///
    /// # Errors
    ///
    /// Returns the broker's errors.
    pub async fn history(
        &self,
        log: &dyn EventLog,
        channel: &Channel,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BrokerError> {
        let _turn = self.histories.acquire().await.ok();
        let step = |entries: usize, bytes: usize| PageLimit {
            entries: STEP.entries.min(limit.entries.saturating_sub(entries)),
            bytes: STEP.bytes.min(limit.bytes.saturating_sub(bytes)),
            likely: Likely::Long,
        };
        let mut page = self.page(log, channel, after, step(0, 0)).await?;
        loop {
            let bytes: usize = page.entries.iter().map(|entry| event_bytes(&entry.event)).sum();
            let step = step(page.entries.len() + page.malformed, bytes);
            if page.end || step.entries == 0 || step.bytes == 0 {
                return Ok(page);
            }
            let mut more = self.read(log, channel, page.next, step).await?;
            if let Some(needs) = more.needs {
                if bytes + needs > limit.bytes {
                    return Ok(page);
                }
                let one = PageLimit { entries: 1, bytes: needs, likely: Likely::Long };
                more = self.read(log, channel, page.next, one).await?;
            }
            page.entries.append(&mut more.entries);
            page.malformed += more.malformed;
            page.first_malformed = page.first_malformed.or(more.first_malformed);
            (page.next, page.end, page.last) = (more.next, more.end, more.last);
        }
    }

    /// Reads a page within the budget. A first entry that is larger than the limit is a page by itself.
    ///
    /// # Errors
    ///
    /// Returns the broker's errors.
    pub(crate) async fn page(
        &self,
        log: &dyn EventLog,
        channel: &Channel,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BrokerError> {
        let mut limit = limit;
        loop {
            let page = self.read(log, channel, after, limit).await?;
            match page.needs {
                Some(needs) if needs > limit.bytes => {
                    limit = PageLimit { entries: 1, bytes: needs, likely: Likely::Long }
                }
                _ => return Ok(page),
            }
        }
    }
}

impl ReadBudget {
    /// Performs one read within the budget.
    async fn read(
        &self,
        log: &dyn EventLog,
        channel: &Channel,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BrokerError> {
        let short = self.short.filter(|_| matches!(limit.likely, Likely::Short { .. })).unwrap_or_default();
        let bytes = u32::try_from(limit.bytes.max(short)).unwrap_or(u32::MAX).min(self.total);
        // The semaphore is never closed.
        let _place = self.room.acquire_many(bytes).await.ok();
        let asked = Instant::now();
        let page = log.page(channel, after, limit).await?;
        if let Some(now) = page.now {
            self.clock.set(asked, now);
        }
        self.report_malformed(channel, &page);
        Ok(page)
    }

    /// Counts and logs the malformed entries that a page skips.
    fn report_malformed(&self, channel: &Channel, page: &Page) {
        static LOG: Throttle = Throttle::of_events();
        if page.malformed == 0 {
            return;
        }
        self.metrics.log_malformed.inc_by(page.malformed as u64);
        if let Some(held_back) = LOG.admit() {
            let (entries, first) = (page.malformed, page.first_malformed.as_ref());
            let (id, reason) = (first.map(|first| first.position), first.map(|first| &first.reason));
            let id = id.map(tracing::field::display);
            tracing::warn!(%channel, entries, id, reason, held_back, "skipped malformed log entries");
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Event;
    use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
    use fanfare_protocol::publish::Publication;
    use futures_util::future::join_all;
    use prometheus_client::registry::Registry;

    use super::*;
    use fanfare_broker::testing::{Call, Fault, FaultyBroker};

    fn budget(bytes: ByteSize) -> ReadBudget {
        ReadBudget::new(
            bytes,
            DEFAULT_MAX_DATA_BYTES,
            Arc::new(HubMetrics::register(&mut Registry::default())),
        )
    }

    async fn filled(sizes: &[usize]) -> FaultyBroker {
        let broker = FaultyBroker::new();
        let publication = |&size: &usize| Publication {
            channel: Channel::broadcast(),
            event: Event::new(None, "x".repeat(size), 1 << 20).unwrap(),
            key: None,
            ephemeral: false,
        };
        broker.inner.publish(sizes.iter().map(publication).collect()).await;
        broker
    }

    #[tokio::test(start_paused = true)]
    async fn reads_under_way_are_bounded_in_bytes() {
        let broker = filled(&[10]).await;
        broker.always(Call::Page, Fault::Late(std::time::Duration::from_millis(1)));
        let budget = budget(ByteSize::b(1000));
        for (bytes, at_once) in [(100, 10), (400, 2), (900, 1), (5000, 1)] {
            let channel = Channel::broadcast();
            let limit = PageLimit { entries: 10, bytes, likely: Likely::Long };
            let read = |_| budget.page(&broker, &channel, Position::ZERO, limit);
            let pages = join_all((0..20).map(read)).await;
            assert!(pages.iter().all(|page| page.as_ref().is_ok_and(|page| page.entries.len() == 1)));
            assert_eq!(broker.most_at_once(Call::Page), at_once, "{bytes} of 1000 bytes");
            broker.forget_counts();
        }
    }

    #[tokio::test]
    async fn a_history_call_reads_in_steps_and_answers_as_if_it_had_read_at_once() {
        let channel = Channel::broadcast();
        for sizes in [vec![100; 700], vec![50_000; 60], vec![10, 400_000, 400_000, 10, 400_000, 10]] {
            let broker = filled(&sizes).await;
            let budget = budget(ByteSize::mib(4));
            for (entries, bytes) in [(1000, 1 << 20), (600, 1 << 20), (1000, 300_000), (1, 100)] {
                let limit = PageLimit { entries, bytes, likely: Likely::Long };
                broker.forget_counts();
                let steps = budget.history(&broker, &channel, Position::ZERO, limit).await.unwrap();
                assert!(broker.most_at_once(Call::Page) == 1);
                let whole = budget.page(&broker, &channel, Position::ZERO, limit).await.unwrap();
                assert_eq!((steps.entries, steps.next, steps.end), (whole.entries, whole.next, whole.end));
            }
        }
    }

    #[tokio::test]
    async fn an_event_larger_than_a_page_is_read_by_itself() {
        let broker = filled(&[10, 100_000, 10]).await;
        let budget = budget(ByteSize::b(1000));
        let limit = PageLimit { entries: 10, bytes: 1000, likely: Likely::Long };
        let mut after = Position::ZERO;
        for (entries, end) in [(1, false), (1, false), (1, true)] {
            let page = budget.page(&broker, &Channel::broadcast(), after, limit).await.unwrap();
            assert_eq!((page.entries.len(), page.end), (entries, end));
            after = page.next;
        }
    }
}
