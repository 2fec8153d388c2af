//! The broker's twin: the memory broker, with everything on the way to it that can go wrong, and a count of what was
//! read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::intake::{IntakeEntry, Intaken, Placed, Reading, Rejected};
use fanfare_broker::lease::{Lease, Swept};
use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};
use fanfare_broker::wire::{Ticket, Wire, WireEvent, WireSink};
use fanfare_broker::{Broker, BrokerError, MemoryBroker, NodeId, NodeInfo, Published};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position, SessionId, User};
use tokio::sync::mpsc;

use crate::client::number;
use crate::traffic::Reads;

/// One node's way to the broker. Each node has its own, with its own faults.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) inner: MemoryBroker,
    rng: Arc<Mutex<fastrand::Rng>>,
    link: Arc<Mutex<Link>>,
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
struct Link {
    /// Whether the subscriber connection is cut.
    cut: bool,
    /// Whether reads fail.
    deaf: bool,
    /// Every channel that was subscribed.
    followed: HashMap<Channel, Ticket>,
    /// Sender to the task that delays events of the subscriber connection.
    delayed: Option<mpsc::UnboundedSender<WireEvent>>,
}

impl Twin {
    /// Creates a node's way to the broker, which counts in `reads` what goes it.
    pub(crate) fn new(inner: MemoryBroker, seed: u64, reads: &Arc<Mutex<Reads>>) -> Self {
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        Self { inner, rng, link: Arc::default(), reads: Arc::clone(reads), under_way: Arc::default() }
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
        let mut link = self.link.lock().unwrap();
        if !link.cut {
            link.cut = true;
            link.tell(WireEvent::Down);
        }
    }

    /// Restores the subscriber connection: connected, and subscribed again in small batches.
    pub(crate) fn mend(&self) {
        let mut link = self.link.lock().unwrap();
        if link.cut {
            link.cut = false;
            link.tell(WireEvent::Up);
            let mut channels: Vec<_> = link.followed.iter().map(|(c, t)| (c.clone(), *t)).collect();
            channels.sort();
            for batch in channels.chunks(2) {
                link.tell(WireEvent::Followed(batch.to_vec()));
            }
        }
    }

    /// Whether reads of logs fail.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.link.lock().unwrap().deaf = deaf;
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.lock().unwrap().u64(0..below)
    }

    async fn travel(&self) {
        let ms = if self.draw(4) == 0 { self.draw(60) } else { self.draw(3) };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn hears(&self) -> Result<(), BrokerError> {
        let deaf = self.link.lock().unwrap().deaf || self.draw(50) == 0;
        if deaf { Err(BrokerError::Unavailable("the link is down".into())) } else { Ok(()) }
    }
}

impl Link {
    fn tell(&self, event: WireEvent) {
        if let Some(delayed) = &self.delayed {
            let _ = delayed.send(event);
        }
    }

    fn hear(&mut self, event: WireEvent) {
        if let WireEvent::Followed(channels) = &event {
            self.followed.extend(channels.iter().cloned());
        }
        // While it is cut, all events of the real subscriber connection are dropped.
        if !self.cut {
            self.tell(event);
        }
    }
}

#[async_trait]
impl Broker for Twin {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        self.inner.publish(batch).await
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        self.inner.publish_known(batch).await
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        let _under_way = self.begin(limit.bytes);
        self.travel().await;
        self.hears()?;
        let page = self.inner.page(channel, after, limit).await?;
        self.count(channel, &page);
        self.travel().await;
        Ok(page)
    }

    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError> {
        self.travel().await;
        self.hears()?;
        let position = self.inner.locate(channel, from).await;
        self.travel().await;
        position
    }

    fn wire(&self, node: &NodeId, mut sink: WireSink) -> Wire {
        let (delayed, mut events) = mpsc::unbounded_channel();
        self.link.lock().unwrap().delayed = Some(delayed);
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if this.draw(3) == 0 {
                    this.travel().await;
                }
                sink(event);
            }
        });
        let link = Arc::downgrade(&self.link);
        self.inner.wire(
            node,
            Box::new(move |event| {
                if let Some(link) = link.upgrade() {
                    link.lock().unwrap().hear(event);
                }
            }),
        )
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        self.inner.claim(claim).await
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: CloseReason,
    ) -> Result<bool, BrokerError> {
        self.inner.release(node, user, session, epoch, reason).await
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        self.inner.renew(node, held).await
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        self.inner.sessions(user).await
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        self.inner.send(node, command).await
    }

    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError> {
        self.inner.lease(info, ttl).await
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        self.inner.leave(info).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        self.inner.nodes().await
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        self.inner.sweep(node, ttl).await
    }

    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        self.inner.lead_intake(node, ttl).await
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        self.inner.resign_intake(node).await
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        self.inner.read_intake(node).await
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        self.inner.take_intake(reading, limit, wait).await
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>> {
        self.inner.publish_intake(reading, entries).await
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        self.inner.reject_intake(reading, rejected).await
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        self.inner.settle_intake(reading, published).await
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        self.inner.prepare().await
    }
}
