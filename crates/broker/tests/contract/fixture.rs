//! What a contract needs besides the broker: the hands that publishers, operators and time have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_broker::log::PageLimit;
use fanfare_broker::memory::StreamsCopy;
use fanfare_broker::subscriber::{SubscriberConnection, SubscriberEvent, Ticket};
use fanfare_broker::{
    Broker, BrokerSettings, Membership, MemoryBroker, NodeId, NodeInfo, RedisBroker, RedisSettings,
};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Event, EventType, Position};
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::redis::Redis as RedisServer;

/// Fields of an entry of a stream.
pub(crate) type Fields = Vec<(String, String)>;

/// One broker and what stands around it.
#[async_trait(?Send)]
pub(crate) trait Fixture: Send + Sync {
    /// A copy of finite streams that does not grow.
    type Replica;
    async fn with(settings: BrokerSettings) -> Self;
    fn broker(&self) -> &dyn Broker;
    /// What is left of a log is its last position.
    async fn expire(&self, channel: &Channel);
    /// Keeps the newest events of a log only.
    async fn trim(&self, channel: &Channel, keep: usize);
    /// Everything is gone.
    async fn wipe(&self);
    /// What a replica has now.
    async fn replicate(&self) -> Self::Replica;
    /// The broker fails over to a replica: what changed since is lost.
    async fn fail_over(&self, to: Self::Replica);
    /// A node's heartbeats have stopped for longer than its lease.
    async fn lapse(&self, node: &NodeId);
    /// Returns a publisher leaves an entry.
    async fn ingest(&self, fields: &[(&str, &str)]) -> Position;
    /// The same with an id of the publisher's choice.
    async fn ingest_as(&self, id: Position, fields: &[(&str, &str)]);
    /// Deletes the ingest stream.
    async fn delete_ingest(&self);
    /// Waits until a reader waits for an entry.
    async fn a_reader_waits(&self);
    async fn lifecycle(&self) -> Vec<Fields>;
    async fn dead(&self) -> Vec<Fields>;
    async fn receipts(&self) -> Vec<Fields>;
}

pub(crate) async fn new<F: Fixture>() -> F {
    F::with(BrokerSettings::default()).await
}

pub(crate) struct Memory {
    broker: MemoryBroker,
}

/// Leases in these tests are shorter, unless they are to outlive a lapse of another.
pub(crate) const LONG: Duration = Duration::from_mins(1);

#[async_trait(?Send)]
impl Fixture for Memory {
    type Replica = StreamsCopy;

    async fn with(settings: BrokerSettings) -> Self {
        Self { broker: MemoryBroker::new(settings) }
    }

    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn expire(&self, channel: &Channel) {
        self.broker.expire(channel);
    }

    async fn trim(&self, channel: &Channel, keep: usize) {
        self.broker.trim(channel, keep);
    }

    async fn replicate(&self) -> StreamsCopy {
        self.broker.copy_streams()
    }

    async fn fail_over(&self, to: StreamsCopy) {
        self.broker.fail_over_streams(to);
    }

    async fn wipe(&self) {
        self.broker.wipe();
    }

    async fn lapse(&self, node: &NodeId) {
        // Every other node goes on with its heartbeats meanwhile.
        let others = self.broker.nodes().await.unwrap();
        tokio::time::advance(LONG).await;
        for info in others.iter().filter(|info| info.id != *node) {
            self.broker.lease(info, LONG).await.unwrap();
        }
    }

    async fn ingest(&self, fields: &[(&str, &str)]) -> Position {
        self.broker.ingest(bytes(fields))
    }

    async fn ingest_as(&self, id: Position, fields: &[(&str, &str)]) {
        self.broker.ingest_as(id, bytes(fields));
    }

    async fn delete_ingest(&self) {
        self.broker.delete_ingest();
    }

    async fn a_reader_waits(&self) {
        // The consumer has had its turn by then.
        tokio::task::yield_now().await;
    }

    async fn lifecycle(&self) -> Vec<Fields> {
        self.broker.lifecycle().into_iter().map(|(_, fields)| fields).collect()
    }

    async fn dead(&self) -> Vec<Fields> {
        self.broker.dead().into_iter().map(|(_, fields)| fields).collect()
    }

    async fn receipts(&self) -> Vec<Fields> {
        self.broker.receipts().into_iter().map(|(_, fields)| fields).collect()
    }
}

fn bytes(fields: &[(&str, &str)]) -> Vec<(Bytes, Bytes)> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

pub(crate) struct Redis {
    pub(crate) server: RedisServer,
    pub(crate) broker: RedisBroker,
}

impl Redis {
    /// Another process's broker on the same server.
    pub(crate) fn another(&self, settings: BrokerSettings) -> RedisBroker {
        connect(&self.server, settings)
    }

    async fn add(&self, id: &str, fields: &[(&str, &str)]) -> Position {
        let mut command = vec!["XADD", "fanfare:ingest", id];
        command.extend(fields.iter().flat_map(|&(name, value)| [name, value]));
        self.server.get::<String>(&command).await.parse().unwrap()
    }

    async fn stream(&self, name: &str) -> Vec<Fields> {
        let entries: Vec<(String, Fields)> = self.server.get(&["XRANGE", name, "-", "+"]).await;
        entries.into_iter().map(|(_, fields)| fields).collect()
    }
}

pub(crate) fn connect(server: &RedisServer, settings: BrokerSettings) -> RedisBroker {
    RedisBroker::connect(RedisSettings { url: server.url(), ..RedisSettings::default() }, settings).unwrap()
}

#[async_trait(?Send)]
impl Fixture for Redis {
    type Replica = RedisServer;

    async fn with(settings: BrokerSettings) -> Self {
        let server = RedisServer::start().await;
        let broker = connect(&server, settings);
        broker.prepare().await.unwrap();
        Self { server, broker }
    }

    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn expire(&self, channel: &Channel) {
        self.server.get::<()>(&["DEL", &format!("fanfare:{{{channel}}}:log")]).await;
    }

    async fn trim(&self, channel: &Channel, keep: usize) {
        let log = format!("fanfare:{{{channel}}}:log");
        self.server.get::<()>(&["XTRIM", &log, "MAXLEN", "=", &keep.to_string()]).await;
    }

    async fn replicate(&self) -> RedisServer {
        let replica = RedisServer::start().await;
        replicate(&replica, &self.server).await;
        replica.get::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        replica
    }

    /// The server takes the replica's data and is a primary again, so the broker's connections stay.
    async fn fail_over(&self, to: RedisServer) {
        replicate(&self.server, &to).await;
        self.server.get::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    }

    async fn wipe(&self) {
        self.server.get::<()>(&["FLUSHALL"]).await;
    }

    async fn lapse(&self, node: &NodeId) {
        self.server.get::<()>(&["DEL", &format!("fanfare:node:{node}")]).await;
    }

    async fn ingest(&self, fields: &[(&str, &str)]) -> Position {
        self.add("*", fields).await
    }

    async fn ingest_as(&self, id: Position, fields: &[(&str, &str)]) {
        self.add(&id.to_string(), fields).await;
    }

    async fn delete_ingest(&self) {
        self.server.get::<()>(&["DEL", "fanfare:ingest"]).await;
    }

    async fn a_reader_waits(&self) {
        eventually("a reader waits", || async { self.server.info("blocked_clients").await >= 1.0 }).await;
    }

    async fn lifecycle(&self) -> Vec<Fields> {
        self.stream("fanfare:lifecycle").await
    }

    async fn dead(&self) -> Vec<Fields> {
        self.stream("fanfare:ingest:dead").await
    }

    async fn receipts(&self) -> Vec<Fields> {
        self.stream("fanfare:receipts").await
    }
}

/// Makes a server a replica of another, and waits until it has its data.
async fn replicate(replica: &RedisServer, primary: &RedisServer) {
    let address = primary.address();
    replica.get::<()>(&["REPLICAOF", &address.ip().to_string(), &address.port().to_string()]).await;
    eventually("the replica has the data", || async {
        let info: String = replica.get(&["INFO", "replication"]).await;
        info.contains("master_link_status:up")
    })
    .await;
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::new(name).unwrap()
}

pub(crate) fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(crate) fn info(id: &str, incarnation: &str) -> NodeInfo {
    NodeInfo {
        id: node(id),
        incarnation: incarnation.into(),
        address: "127.0.0.1:1".into(),
        since: 1,
        connections: 2,
        draining: false,
    }
}

pub(crate) fn event(data: &str) -> Event {
    let kind = Some(EventType::new("test").unwrap());
    Event::new(kind, data.into(), usize::MAX).unwrap()
}

pub(crate) fn publication(name: &str, data: &str) -> Publication {
    Publication { channel: channel(name), event: event(data), key: None, ephemeral: false }
}

/// Publishes one event and answers its position.
pub(crate) async fn publish(broker: &dyn Broker, name: &str, data: &str) -> Position {
    let published = broker.publish(vec![publication(name, data)]).await.pop().unwrap();
    published.unwrap().position.unwrap()
}

/// Returns the data of what a log holds after a position.
pub(crate) async fn read(broker: &dyn Broker, name: &str, after: Position) -> Vec<String> {
    let page = broker.page(&channel(name), after, PageLimit::entries(1000)).await.unwrap();
    page.entries.iter().map(|entry| entry.event.data().to_owned()).collect()
}

/// A subscriber connection that records all its events.
pub(crate) struct Subscriber {
    connection: SubscriberConnection,
    events: Arc<Mutex<Vec<SubscriberEvent>>>,
}

impl Subscriber {
    /// Opens a subscriber connection and waits until it is up.
    pub(crate) async fn open(broker: &dyn Broker, id: &str) -> Self {
        let subscriber = Self::open_at_once(broker, id);
        subscriber
            .wait("the subscriber connection is up", |events| events.contains(&SubscriberEvent::Up))
            .await;
        subscriber
    }

    pub(crate) fn open_at_once(broker: &dyn Broker, id: &str) -> Self {
        let events = Arc::<Mutex<Vec<SubscriberEvent>>>::default();
        let sink = Arc::clone(&events);
        let connection =
            broker.open_subscriber(&node(id), Box::new(move |event| sink.lock().unwrap().push(event)));
        Self { connection, events }
    }

    /// Subscribes to channels and waits until all are confirmed with this ticket.
    pub(crate) async fn subscribe(&self, names: &[&str], ticket: Ticket) {
        self.request(names, ticket);
        self.confirmed(names, ticket).await;
    }

    /// Subscribes to a channel, which may be that of a finite stream, and waits until that is confirmed.
    pub(crate) async fn follow(&self, channel: &Channel, ticket: Ticket) {
        self.connection.subscribe(vec![(channel.clone(), ticket)]);
        let wanted = SubscriberEvent::Subscribed(vec![(channel.clone(), ticket)]);
        self.wait("the channel is subscribed", |events| events.contains(&wanted)).await;
    }

    pub(crate) fn request(&self, names: &[&str], ticket: Ticket) {
        self.connection.subscribe(names.iter().map(|name| (channel(name), ticket)).collect());
    }

    pub(crate) async fn confirmed(&self, names: &[&str], ticket: Ticket) {
        let wanted: Vec<_> = names.iter().map(|name| (channel(name), ticket)).collect();
        self.wait("the channels are subscribed", |events| {
            let subscribed = |one: &(Channel, Ticket)| {
                events
                    .iter()
                    .any(|event| matches!(event, SubscriberEvent::Subscribed(some) if some.contains(one)))
            };
            wanted.iter().all(subscribed)
        })
        .await;
    }

    pub(crate) fn unsubscribe(&self, names: &[&str]) {
        self.connection.unsubscribe(names.iter().map(|name| channel(name)).collect());
    }

    pub(crate) async fn wait(&self, what: &str, holds: impl Fn(&[SubscriberEvent]) -> bool) {
        eventually(what, || async { holds(&self.events.lock().unwrap()) }).await;
    }

    pub(crate) fn events(&self) -> Vec<SubscriberEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Returns the received messages of a channel.
    pub(crate) fn messages(&self, name: &str) -> Vec<Bytes> {
        self.messages_of(&channel(name))
    }

    fn messages_of(&self, of: &Channel) -> Vec<Bytes> {
        let message = |event| match event {
            SubscriberEvent::Message(channel, _, message) if channel == *of => Some(message),
            _ => None,
        };
        self.events().into_iter().filter_map(message).collect()
    }

    /// Waits for so many messages of a channel.
    pub(crate) async fn wait_messages(&self, name: &str, count: usize) -> Vec<Bytes> {
        self.wait_messages_of(&channel(name), count).await
    }

    /// The same of a channel that may be that of a finite stream.
    pub(crate) async fn wait_messages_of(&self, channel: &Channel, count: usize) -> Vec<Bytes> {
        eventually("the messages arrive", || async { self.messages_of(channel).len() >= count }).await;
        self.messages_of(channel)
    }

    pub(crate) fn controls(&self) -> Vec<Bytes> {
        let control = |event| match event {
            SubscriberEvent::Control(message) => Some(message),
            _ => None,
        };
        self.events().into_iter().filter_map(control).collect()
    }

    pub(crate) fn count(&self, wanted: &SubscriberEvent) -> usize {
        self.events.lock().unwrap().iter().filter(|event| *event == wanted).count()
    }

    pub(crate) async fn close(self) -> Vec<SubscriberEvent> {
        self.connection.close().await;
        std::mem::take(&mut self.events.lock().unwrap())
    }
}
