//! Log reads: a bounded number in progress, the others queued.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_broker::log::{Page, PageLimit, event_bytes};
use fanfare_broker::{BrokerError, EventLog};
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::line::{Asker, Line};
use crate::read_budget::ReadBudget;

/// A query of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// The entries after a position.
    Page(Position),
    /// The start position.
    Locate(StartAt),
}

/// Identifies a topic of the shard: its key and serial.
pub(crate) type TopicKey = (usize, u64);

/// Result of a log read.
#[derive(Debug)]
pub(crate) enum Answer {
    Page(Page),
    Located(Position),
}

/// What is expected of a read of a topic's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints {
    /// Bytes that an event as large as the last ones needs; 0 if the usual limit is enough.
    pub(crate) large: usize,
    /// Whether the log probably has nothing new: the last page was its end, or none was read yet.
    pub(crate) at_end: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self { large: 0, at_end: true }
    }
}

/// A result, with its query.
pub(crate) type Answered = (TopicKey, Ask, Result<Answer, BrokerError>);

/// The log reads of one shard. Queued ones are bounded by the connections that wait for them.
pub(crate) struct Reads {
    log: Arc<dyn EventLog>,
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    in_line: Line<(TopicKey, Ask)>,
    limit: usize,
    /// Reads that count back from the newest event, for which Redis must copy many entries. One is in progress at a
    /// time.
    counts: Line<(TopicKey, Ask)>,
    is_counting: bool,
    budget: Arc<ReadBudget>,
    page: PageLimit,
}

impl Reads {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        budget: Arc<ReadBudget>,
        limit: usize,
        page: PageLimit,
    ) -> Self {
        Self {
            log,
            under_way: FuturesUnordered::new(),
            in_line: Line::default(),
            limit: limit.max(1),
            counts: Line::default(),
            is_counting: false,
            budget,
            page,
        }
    }

    /// Returns what a page says of the read after it.
    pub(crate) fn hints(&self, page: &Page) -> Hints {
        let largest = page.entries.iter().map(|entry| event_bytes(&entry.event)).max().unwrap_or_default();
        let is_large = largest > self.page.bytes;
        Hints { large: if is_large { largest } else { 0 }, at_end: page.end }
    }

    /// Returns the upper bound of the clock that assigns positions.
    pub(crate) fn latest(&self, at: Instant) -> Option<u64> {
        self.budget.latest(at)
    }

    /// Queues a read for one of its waiting connections.
    pub(crate) fn ask(&mut self, topic: TopicKey, ask: Ask, asker: Asker) {
        let line = if counts(ask) { &mut self.counts } else { &mut self.in_line };
        line.push(asker, (topic, ask));
    }

    /// Returns whether another read may start.
    pub(crate) fn can_send(&self) -> bool {
        let may_count = !self.is_counting && !self.counts.is_empty();
        self.under_way.len() < self.limit && (may_count || !self.in_line.is_empty())
    }

    /// Returns the next read, if it may start.
    pub(crate) fn next(&mut self) -> Option<(TopicKey, Ask)> {
        if !self.can_send() {
            return None;
        }
        if self.is_counting { None } else { self.counts.pop() }.or_else(|| self.in_line.pop())
    }

    /// Starts a read.
    pub(crate) fn send(&mut self, topic: TopicKey, channel: Channel, ask: Ask, hints: Hints) {
        let (log, budget) = (Arc::clone(&self.log), Arc::clone(&self.budget));
        let Hints { large, at_end } = hints;
        let page = PageLimit { bytes: self.page.bytes.max(large), at_end, ..self.page };
        self.is_counting |= counts(ask);
        self.under_way.push(Box::pin(async move {
            let answer = match ask {
                Ask::Page(after) => budget.page(&*log, &channel, after, page).await.map(Answer::Page),
                Ask::Locate(from) => budget.locate(&*log, &channel, from).await.map(Answer::Located),
            };
            (topic, ask, answer)
        }));
    }

    /// Returns the next result.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        match self.under_way.poll_next_unpin(cx) {
            Poll::Ready(Some(answered)) => {
                self.is_counting &= !counts(answered.1);
                Poll::Ready(answered)
            }
            // An empty set is not the end: more reads follow.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

fn counts(ask: Ask) -> bool {
    matches!(ask, Ask::Locate(StartAt::Newest(_)))
}
