//! The broker's twin: the logs and live topics of the memory broker, with everything on the way to them that can go
//! wrong, and a count of what was read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, SubscriberSink, Ticket};
use fanfare_broker::{BrokerError, EventLog, LiveTopics, MemoryBroker, NodeId, Published};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};
use tokio::sync::mpsc;

use crate::client::number;
use crate::traffic::Reads;

/// One node's connections to the broker. Each node has its own, with its own faults.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) inner: MemoryBroker,
    rng: Arc<Mutex<fastrand::Rng>>,
    state: Arc<Mutex<State>>,
    reads: Arc<Mutex<Reads>>,
    /// What the reads under way may bring together, in bytes, as the node has bounded them.
    under_way: Arc<AtomicUsize>,
}

/// A read on its way; it is not when this is dropped.
struct UnderWay<'a>(&'a AtomicUsize, usize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether the subscriber connection is cut.
    cut: bool,
    /// Whether reads fail.
    failing: bool,
    /// Every channel that was subscribed.
    subscribed: HashMap<Channel, Ticket>,
    /// Sender to the task that delays events of the subscriber connection.
    delayed: Option<mpsc::UnboundedSender<SubscriberEvent>>,
}

impl Twin {
    /// Creates a node's connections, which count in `reads` what they read.
    pub(crate) fn new(inner: MemoryBroker, seed: u64, reads: &Arc<Mutex<Reads>>) -> Self {
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        Self { inner, rng, state: Arc::default(), reads: Arc::clone(reads), under_way: Arc::default() }
    }

    /// Records that a read of at most this number of bytes is in progress.
    fn begin(&self, bytes: usize) -> UnderWay<'_> {
        let others = self.under_way.fetch_add(bytes, Ordering::Relaxed);
        // An event that is larger than the bound is read when nothing else is.
        let together = if others == 0 { 0 } else { others + bytes };
        let mut reads = self.reads.lock().unwrap();
        reads.most_under_way = reads.most_under_way.max(together);
        UnderWay(&self.under_way, bytes)
    }

    fn count(&self, channel: &Channel, page: &Page) {
        let mut reads = self.reads.lock().unwrap();
        for entry in &page.entries {
            *reads.times.entry((channel.clone(), number(entry.event.data()))).or_default() += 1;
        }
    }

    /// Loses the subscriber connection: later events are dropped.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.cut {
            state.cut = true;
            state.send(SubscriberEvent::Down);
        }
    }

    /// Restores the subscriber connection: connected, and subscribed again in small batches.
    pub(crate) fn mend(&self) {
        let mut state = self.state.lock().unwrap();
        if state.cut {
            state.cut = false;
            state.send(SubscriberEvent::Up);
            let mut channels: Vec<_> = state.subscribed.iter().map(|(c, t)| (c.clone(), *t)).collect();
            channels.sort();
            for batch in channels.chunks(2) {
                state.send(SubscriberEvent::Subscribed(batch.to_vec()));
            }
        }
    }

    /// Whether reads of logs fail.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.lock().unwrap().u64(0..below)
    }

    async fn travel(&self) {
        let ms = if self.draw(4) == 0 { self.draw(60) } else { self.draw(3) };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn check(&self) -> Result<(), BrokerError> {
        let failing = self.state.lock().unwrap().failing || self.draw(50) == 0;
        if failing { Err(BrokerError::Unavailable("the connection is down".into())) } else { Ok(()) }
    }
}

impl State {
    fn send(&self, event: SubscriberEvent) {
        if let Some(delayed) = &self.delayed {
            let _ = delayed.send(event);
        }
    }

    fn receive(&mut self, event: SubscriberEvent) {
        if let SubscriberEvent::Subscribed(channels) = &event {
            self.subscribed.extend(channels.iter().cloned());
        }
        // While it is cut, all events of the real subscriber connection are dropped.
        if !self.cut {
            self.send(event);
        }
    }
}

#[async_trait]
impl EventLog for Twin {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        self.inner.publish(batch).await
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        self.inner.publish_known(batch).await
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        let _under_way = self.begin(limit.bytes);
        self.travel().await;
        self.check()?;
        let page = self.inner.page(channel, after, limit).await?;
        self.count(channel, &page);
        self.travel().await;
        Ok(page)
    }

    async fn locate(&self, channel: &Channel, from: StartAt) -> Result<Position, BrokerError> {
        self.travel().await;
        self.check()?;
        let position = self.inner.locate(channel, from).await;
        self.travel().await;
        position
    }
}

impl LiveTopics for Twin {
    fn open_subscriber(&self, node: &NodeId, mut sink: SubscriberSink) -> SubscriberConnection {
        let (delayed, mut events) = mpsc::unbounded_channel();
        self.state.lock().unwrap().delayed = Some(delayed);
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if this.draw(3) == 0 {
                    this.travel().await;
                }
                sink(event);
            }
        });
        let state = Arc::downgrade(&self.state);
        self.inner.open_subscriber(
            node,
            Box::new(move |event| {
                if let Some(state) = state.upgrade() {
                    state.lock().unwrap().receive(event);
                }
            }),
        )
    }
}
