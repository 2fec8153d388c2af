//! The broker's twin: the finite streams of the memory broker, with everything on the way to them that can go wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::stream_store::{
    Append, Appended, Created, ForkId, Found, NewStream, Origin, ReadRange, Reference, Referred, Removed,
    StreamList, StreamPage,
};
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, SubscriberSink, Ticket};
use fanfare_broker::{BrokerError, LiveTopics, MemoryBroker, NodeId, StreamStore};
use fanfare_protocol::Channel;
use fanfare_protocol::finite::StreamName;
use tokio::sync::mpsc;

/// One node's connections to the broker. Each node has its own, with its own faults.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    inner: MemoryBroker,
    random: Arc<Mutex<fastrand::Rng>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the subscriber connection is cut.
    cut: bool,
    /// Whether calls fail.
    failing: bool,
    /// Every channel that was subscribed.
    subscribed: HashMap<Channel, Ticket>,
    /// Sender to the task that delays events of the subscriber connection.
    delayed: Option<mpsc::UnboundedSender<SubscriberEvent>>,
}

impl Twin {
    pub(crate) fn new(inner: MemoryBroker, seed: u64) -> Self {
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        Self { inner, random, state: Arc::default() }
    }

    /// Loses the subscriber connection: later events are dropped.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.cut {
            state.cut = true;
            state.send(SubscriberEvent::Down);
        }
    }

    /// Restores the subscriber connection: connected, and subscribed again.
    pub(crate) fn mend(&self) {
        let mut state = self.state.lock().unwrap();
        if state.cut {
            state.cut = false;
            state.send(SubscriberEvent::Up);
            let channels: Vec<_> = state.subscribed.iter().map(|(c, t)| (c.clone(), *t)).collect();
            state.send(SubscriberEvent::Subscribed(channels));
        }
    }

    /// Whether all calls fail.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    fn draw(&self, below: u64) -> u64 {
        self.random.lock().unwrap().u64(0..below)
    }

    async fn travel(&self) {
        let ms = if self.draw(4) == 0 { self.draw(60) } else { self.draw(3) };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Fails if the connection is down, and now and then without a reason.
    fn check(&self) -> Result<(), BrokerError> {
        let failing = self.state.lock().unwrap().failing || self.draw(30) == 0;
        if failing { Err(BrokerError::Unavailable("the connection is down".into())) } else { Ok(()) }
    }

    /// Makes a call: it may fail before it was made, or its answer be lost.
    async fn call<T>(&self, call: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
        self.travel().await;
        self.check()?;
        let answer = call.await;
        self.travel().await;
        self.check()?;
        answer
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
        if !self.cut {
            self.send(event);
        }
    }
}

#[async_trait]
impl StreamStore for Twin {
    async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<Created, BrokerError> {
        self.call(self.inner.create_stream(name, new)).await
    }

    async fn append_stream(&self, name: &StreamName, append: &Append) -> Result<Appended, BrokerError> {
        self.call(self.inner.append_stream(name, append)).await
    }

    async fn read_stream(
        &self,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<Found<StreamPage>, BrokerError> {
        self.call(self.inner.read_stream(name, range)).await
    }

    async fn remove_stream(&self, name: &StreamName) -> Result<Found<Removed>, BrokerError> {
        self.call(self.inner.remove_stream(name)).await
    }

    async fn refer_stream(
        &self,
        source: &StreamName,
        reference: &Reference,
    ) -> Result<Found<Referred>, BrokerError> {
        self.call(self.inner.refer_stream(source, reference)).await
    }

    async fn list_streams(&self, after: u64) -> Result<StreamList, BrokerError> {
        self.call(self.inner.list_streams(after)).await
    }

    async fn stream_forks(&self, source: &StreamName) -> Result<Vec<ForkId>, BrokerError> {
        self.call(self.inner.stream_forks(source)).await
    }

    async fn release_forks(
        &self,
        source: &StreamName,
        forks: &[ForkId],
    ) -> Result<Option<Origin>, BrokerError> {
        self.call(self.inner.release_forks(source, forks)).await
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
