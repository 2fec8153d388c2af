//! Log reads: a bounded number in progress, the others queued.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_broker::log::{Page, PageLimit, event_bytes};
use fanfare_broker::{Broker, BrokerError};
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::line::{Asker, Line};
use super::topic::Ask;
use crate::read_budget::ReadBudget;

/// Identifies a topic of the shard: its key and serial.
pub(crate) type TopicKey = (usize, u64);

/// Result of a log read.
#[derive(Debug)]
pub(crate) enum Answer {
    Page(Page),
    Located(Position),
}

/// A result, with its query.
pub(crate) type Answered = (TopicKey, Ask, Result<Answer, BrokerError>);

/// The log reads of one shard. Queued ones are bounded by the connections that wait for them.
pub(crate) struct Reads {
    broker: Arc<dyn Broker>,
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
        broker: Arc<dyn Broker>,
        budget: Arc<ReadBudget>,
        limit: usize,
        page: PageLimit,
    ) -> Self {
        Self {
            broker,
            under_way: FuturesUnordered::new(),
            in_line: Line::default(),
            limit: limit.max(1),
            counts: Line::default(),
            is_counting: false,
            budget,
            page,
        }
    }

    /// Returns the bytes of a page's largest event, if they exceed the usual page limit, else 0.
    pub(crate) fn large(&self, page: &Page) -> u32 {
        let largest = page.entries.iter().map(|entry| event_bytes(&entry.event)).max().unwrap_or_default();
        if largest > self.page.bytes { u32::try_from(largest).unwrap_or(u32::MAX) } else { 0 }
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

    /// Starts a read. `large` raises the byte limit of its page.
    pub(crate) fn send(&mut self, topic: TopicKey, channel: Channel, ask: Ask, large: u32) {
        let (broker, budget) = (Arc::clone(&self.broker), Arc::clone(&self.budget));
        let large = usize::try_from(large).unwrap_or(usize::MAX);
        let page = PageLimit { bytes: self.page.bytes.max(large), ..self.page };
        self.is_counting |= counts(ask);
        self.under_way.push(Box::pin(async move {
            let answer = match ask {
                Ask::Page(after) => budget.page(&*broker, &channel, after, page).await.map(Answer::Page),
                Ask::Locate(from) => budget.locate(&*broker, &channel, from).await.map(Answer::Located),
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
    matches!(ask, Ask::Locate(From::Newest(_)))
}
