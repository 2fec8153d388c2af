//! Questions to the logs: a bounded number under way, the others in line.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_broker::log::{Page, PageLimit, event_bytes};
use fanfare_broker::{Broker, BrokerError};
use fanfare_protocol::{Channel, Position};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::topic::Ask;
use crate::read_budget::ReadBudget;

/// Names a topic of the loop: its key and its serial.
pub(crate) type TopicKey = (usize, u64);

/// What a log answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Page(Page),
    Located(Position),
}

/// An answer, and what was asked.
pub(crate) type Answered = (TopicKey, Ask, Result<Answer, BrokerError>);

/// The questions of one writer loop. Those in line are bounded by the connections that wait for them.
pub(crate) struct Reads {
    broker: Arc<dyn Broker>,
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    in_line: VecDeque<(TopicKey, Ask)>,
    limit: usize,
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
            in_line: VecDeque::new(),
            limit: limit.max(1),
            budget,
            page,
        }
    }

    /// How many bytes the largest of some events needs, if a page does not hold it, else 0.
    pub(crate) fn large(&self, page: &Page) -> u32 {
        let largest = page.entries.iter().map(|entry| event_bytes(&entry.event)).max().unwrap_or_default();
        if largest > self.page.bytes { u32::try_from(largest).unwrap_or(u32::MAX) } else { 0 }
    }

    /// Puts a question in line.
    pub(crate) fn ask(&mut self, topic: TopicKey, ask: Ask) {
        self.in_line.push_back((topic, ask));
    }

    /// Whether a question may be sent now.
    pub(crate) fn can_send(&self) -> bool {
        self.under_way.len() < self.limit && !self.in_line.is_empty()
    }

    /// The next question that may be sent now.
    pub(crate) fn next(&mut self) -> Option<(TopicKey, Ask)> {
        if self.can_send() { self.in_line.pop_front() } else { None }
    }

    /// Sends a question. A page may have more bytes than usual, if `large` says so.
    pub(crate) fn send(&mut self, topic: TopicKey, channel: Channel, ask: Ask, large: u32) {
        let (broker, budget) = (Arc::clone(&self.broker), Arc::clone(&self.budget));
        let large = usize::try_from(large).unwrap_or(usize::MAX);
        let page = PageLimit { bytes: self.page.bytes.max(large), ..self.page };
        self.under_way.push(Box::pin(async move {
            let answer = match ask {
                Ask::Page(after) => budget.page(&*broker, &channel, after, page).await.map(Answer::Page),
                Ask::Locate(from) => broker.locate(&channel, from).await.map(Answer::Located),
            };
            (topic, ask, answer)
        }));
    }

    /// The next answer.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        match self.under_way.poll_next_unpin(cx) {
            Poll::Ready(Some(answered)) => Poll::Ready(answered),
            // An empty set is not at its end: more questions come.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
