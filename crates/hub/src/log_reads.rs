//! Log reads: a bounded number in progress, the others queued.

mod forecast;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_broker::log::{Likely, Page, PageLimit, event_bytes};
use fanfare_broker::{BrokerError, EventLog};
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use self::forecast::Forecast;
use crate::fair_queue::{FairQueue, Requester};
use crate::read_budget::ReadBudget;

/// A query of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogQuery {
    /// The entries after a position.
    Page(Position),
    /// The start position.
    Locate(StartAt),
}

/// Identifies a topic of the shard: its key and serial.
pub(crate) type TopicKey = (usize, u64);

/// Result of a log read.
#[derive(Debug)]
pub(crate) enum LogResult {
    Page(Page),
    Located(Position),
}

/// What is expected of a read of a topic's log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hints {
    /// Bytes that an event as large as the last ones needs; 0 if the usual limit is enough.
    pub(crate) large: usize,
    pub(crate) finds: Finds,
}

/// What a read will probably find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finds {
    /// Not known: no page was read yet, or live events may have been lost.
    #[default]
    Unknown,
    /// Nothing: the last page was the log's end.
    Nothing,
    /// More events: the last page was not the end.
    More,
}

/// A result, with its query.
pub(crate) type FinishedRead = (TopicKey, LogQuery, Result<LogResult, BrokerError>);

/// A read. Returns with the result what was expected.
type ReadInProgress = Pin<Box<dyn Future<Output = (FinishedRead, Finds)> + Send>>;

/// The log reads of one shard. Queued ones are bounded by the connections that wait for them.
pub(crate) struct LogReads {
    log: Arc<dyn EventLog>,
    in_progress: FuturesUnordered<ReadInProgress>,
    queued: FairQueue<(TopicKey, LogQuery)>,
    limit: usize,
    /// Reads that count back from the newest event, for which Redis must copy many entries. One is in progress at a
    /// time.
    counts: FairQueue<(TopicKey, LogQuery)>,
    is_counting: bool,
    budget: Arc<ReadBudget>,
    page: PageLimit,
    /// What reads find of which nothing is known.
    forecast: Forecast,
}

impl LogReads {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        budget: Arc<ReadBudget>,
        limit: usize,
        page: PageLimit,
    ) -> Self {
        Self {
            log,
            in_progress: FuturesUnordered::new(),
            queued: FairQueue::default(),
            limit: limit.max(1),
            counts: FairQueue::default(),
            is_counting: false,
            budget,
            page,
            forecast: Forecast::default(),
        }
    }

    /// Returns what a page says of the read after it.
    pub(crate) fn hints(&self, page: &Page) -> Hints {
        let largest = page.entries.iter().map(|entry| event_bytes(&entry.event)).max().unwrap_or_default();
        let is_large = largest > self.page.bytes;
        let finds = if page.end { Finds::Nothing } else { Finds::More };
        Hints { large: if is_large { largest } else { 0 }, finds }
    }

    /// Returns the upper bound of the clock that assigns positions.
    pub(crate) fn latest(&self, at: Instant) -> Option<u64> {
        self.budget.latest(at)
    }

    /// Queues a read for one of its waiting connections.
    pub(crate) fn enqueue(&mut self, topic: TopicKey, query: LogQuery, requester: Requester) {
        let queue = if is_count(query) { &mut self.counts } else { &mut self.queued };
        queue.push(requester, (topic, query));
    }

    /// Returns whether another read may start.
    pub(crate) fn can_start(&self) -> bool {
        let may_count = !self.is_counting && !self.counts.is_empty();
        self.in_progress.len() < self.limit && (may_count || !self.queued.is_empty())
    }

    /// Returns the next read, if it may start.
    pub(crate) fn next(&mut self) -> Option<(TopicKey, LogQuery)> {
        if !self.can_start() {
            return None;
        }
        if self.is_counting { None } else { self.counts.pop() }.or_else(|| self.queued.pop())
    }

    /// Starts a read.
    pub(crate) fn start(&mut self, topic: TopicKey, channel: Channel, query: LogQuery, hints: Hints) {
        let (log, budget) = (Arc::clone(&self.log), Arc::clone(&self.budget));
        let Hints { large, finds } = hints;
        let likely = match finds {
            Finds::Unknown if self.forecast.is_empty() => self.budget.likely_empty(),
            Finds::Unknown => self.budget.likely_short(),
            Finds::Nothing => self.budget.likely_empty(),
            Finds::More => Likely::Long,
        };
        let page = PageLimit { bytes: self.page.bytes.max(large), likely, ..self.page };
        self.is_counting |= is_count(query);
        self.in_progress.push(Box::pin(async move {
            let result = match query {
                LogQuery::Page(after) => budget.page(&*log, &channel, after, page).await.map(LogResult::Page),
                LogQuery::Locate(from) => budget.locate(&*log, &channel, from).await.map(LogResult::Located),
            };
            ((topic, query, result), finds)
        }));
    }

    /// Returns the next result.
    pub(crate) fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<FinishedRead> {
        match self.in_progress.poll_next_unpin(cx) {
            Poll::Ready(Some((finished, expected))) => {
                self.is_counting &= !is_count(finished.1);
                if let (_, LogQuery::Page(after), Ok(LogResult::Page(page))) = &finished
                    && expected == Finds::Unknown
                {
                    self.forecast.record(page.last != *after && page.last != Position::ZERO);
                }
                Poll::Ready(finished)
            }
            // An empty set is not the end: more reads follow.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

fn is_count(query: LogQuery) -> bool {
    matches!(query, LogQuery::Locate(StartAt::Newest(_)))
}
