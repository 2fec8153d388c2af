//! Test double: a broker that fails, hangs and loses replies by script, in front of the memory broker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::broker::Published;
use fanfare_broker::intake::{IntakeEntry, Intaken, Placed, Reading, Rejected};
use fanfare_broker::lease::{Lease, Swept};
use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};
use fanfare_broker::wire::{Wire, WireSink};
use fanfare_broker::{Broker, BrokerError, BrokerSettings, MemoryBroker, NodeId, NodeInfo};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position, SessionId, User};
use tokio::time::Instant;

/// A call of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Publish,
    Page,
    Claim,
    Release,
    Renew,
    Sessions,
    Send,
    Lease,
    Leave,
    Nodes,
    Sweep,
    Lead,
    Resign,
    Read,
    Take,
    Reject,
    Settle,
    Prepare,
}

/// Fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not carried out.
    Away,
    /// Carried out, but the reply is lost.
    Unheard,
    /// Not carried out, and a retry is useless.
    Refused,
    /// Carried out after a delay.
    Late(Duration),
    /// Carried out, with a delayed reply.
    LateAnswer(Duration),
    /// Not carried out, with a delayed error.
    LateAway(Duration),
    /// Never answered.
    Hung,
    /// No fault: lets a call pass before the next fault.
    Fine,
}

/// Decides for one entry of a call to publish.
type ItemFault = Box<dyn FnMut(&Publication) -> Option<BrokerError> + Send>;

#[derive(Default)]
struct Script {
    next: HashMap<Call, VecDeque<Fault>>,
    always: HashMap<Call, Fault>,
    down: bool,
    calls: HashMap<Call, usize>,
    under_way: HashMap<Call, usize>,
    most_at_once: HashMap<Call, usize>,
    publish: Option<ItemFault>,
    batches: Vec<usize>,
}

/// The memory broker behind a script.
#[derive(Clone)]
pub(crate) struct FaultyBroker {
    pub(crate) inner: MemoryBroker,
    script: Arc<Mutex<Script>>,
}

impl std::fmt::Debug for FaultyBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyBroker")
    }
}

impl FaultyBroker {
    /// Creates a broker without faults.
    pub(crate) fn new() -> Self {
        Self::with(BrokerSettings::default())
    }

    /// Creates a broker with settings, without faults.
    pub(crate) fn with(settings: BrokerSettings) -> Self {
        let inner = MemoryBroker::starting_at(settings, 1_700_000_000_000);
        Self { inner, script: Arc::default() }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Broker> {
        Arc::new(self.clone())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Applies faults to the next calls of this kind, one each.
    pub(crate) fn next(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.script().next.entry(call).or_default().extend(faults);
    }

    /// Applies a fault to every call of this kind, until [`Self::heal`].
    pub(crate) fn always(&self, call: Call, fault: Fault) {
        self.script().always.insert(call, fault);
    }

    /// Sets whether every call fails.
    pub(crate) fn down(&self, down: bool) {
        self.script().down = down;
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        let mut script = self.script();
        script.next.clear();
        script.always.clear();
        script.publish = None;
        script.down = false;
    }

    /// Sets a function that is called for each intake entry; an entry for which it returns an error is not stored.
    pub(crate) fn fail_items(
        &self,
        decide: impl FnMut(&Publication) -> Option<BrokerError> + Send + 'static,
    ) {
        self.script().publish = Some(Box::new(decide));
    }

    /// Returns the number of calls of this kind.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// Returns the maximum number of concurrent calls of this kind.
    pub(crate) fn most_at_once(&self, call: Call) -> usize {
        self.script().most_at_once.get(&call).copied().unwrap_or_default()
    }

    /// Resets the counts.
    pub(crate) fn forget_counts(&self) {
        let mut script = self.script();
        script.calls.clear();
        script.most_at_once.clear();
    }

    /// Returns the number of intake entries of each publish call.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.script().batches.clone()
    }

    /// Returns the lifecycle stream as `event user` words, without positions.
    pub(crate) fn lifecycle(&self) -> Vec<String> {
        let value = |fields: &[(String, String)], name: &str| {
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
        };
        let entries = self.inner.lifecycle();
        let line = |(_, fields): &(Position, Vec<(String, String)>)| {
            let reason = value(fields, "reason").map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{}{reason}", value(fields, "event").unwrap())
        };
        entries.iter().map(line).collect()
    }

    async fn meet<T: Send>(
        &self,
        call: Call,
        act: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        let fault = {
            let mut script = self.script();
            *script.calls.entry(call).or_default() += 1;
            let now = script.under_way.entry(call).or_default();
            *now += 1;
            let now = *now;
            let most = script.most_at_once.entry(call).or_default();
            *most = now.max(*most);
            let next = script.next.get_mut(&call).and_then(VecDeque::pop_front);
            let always = script.always.get(&call).copied();
            if script.down { Fault::Away } else { next.or(always).unwrap_or(Fault::Fine) }
        };
        let _under_way = UnderWay(self, call);
        let away = || BrokerError::Unavailable("by script".into());
        match fault {
            Fault::Fine => act.await,
            Fault::Away => Err(away()),
            Fault::Refused => Err(BrokerError::Refused("by script".into())),
            Fault::Unheard => {
                act.await?;
                Err(away())
            }
            Fault::Late(time) => {
                tokio::time::sleep(time).await;
                act.await
            }
            Fault::LateAnswer(time) => {
                let result = act.await;
                tokio::time::sleep(time).await;
                result
            }
            Fault::LateAway(time) => {
                tokio::time::sleep(time).await;
                Err(away())
            }
            Fault::Hung => std::future::pending().await,
        }
    }
}

struct UnderWay<'a>(&'a FaultyBroker, Call);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.script().under_way.entry(self.1).or_default() -= 1;
    }
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        let size = batch.len();
        let all = self.meet(Call::Publish, async { Ok(self.inner.publish(batch).await) });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        let size = batch.len();
        let all = self.meet(Call::Publish, async { Ok(self.inner.publish_known(batch).await) });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        self.meet(Call::Page, self.inner.page(channel, after, limit)).await
    }

    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError> {
        self.inner.locate(channel, from).await
    }

    fn wire(&self, node: &NodeId, sink: WireSink) -> Wire {
        self.inner.wire(node, sink)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        self.meet(Call::Claim, self.inner.claim(claim)).await
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: CloseReason,
    ) -> Result<bool, BrokerError> {
        self.meet(Call::Release, self.inner.release(node, user, session, epoch, reason)).await
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        self.meet(Call::Renew, self.inner.renew(node, held)).await
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        self.meet(Call::Sessions, self.inner.sessions(user)).await
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        self.meet(Call::Send, self.inner.send(node, command)).await
    }

    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError> {
        self.meet(Call::Lease, self.inner.lease(info, ttl)).await
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        self.meet(Call::Leave, self.inner.leave(info)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        self.meet(Call::Nodes, self.inner.nodes()).await
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        self.meet(Call::Sweep, self.inner.sweep(node, ttl)).await
    }

    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        self.meet(Call::Lead, self.inner.lead_intake(node, ttl)).await
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        self.meet(Call::Resign, self.inner.resign_intake(node)).await
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        self.meet(Call::Read, self.inner.read_intake(node)).await
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        self.meet(Call::Take, self.inner.take_intake(reading, limit, wait)).await
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>> {
        let size = entries.len();
        self.script().batches.push(size);
        let all = self.meet(Call::Publish, async {
            let mut results = Vec::new();
            for placed in entries {
                let failed = self.script().publish.as_mut().and_then(|decide| decide(&placed.publication));
                results.push(match failed {
                    Some(error) => Err(error),
                    None => self.inner.publish_intake(reading, vec![placed]).await.remove(0),
                });
            }
            Ok(results)
        });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        self.meet(Call::Reject, self.inner.reject_intake(reading, rejected)).await
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        self.meet(Call::Settle, self.inner.settle_intake(reading, published)).await
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        self.meet(Call::Prepare, self.inner.prepare()).await
    }
}

/// Waits in virtual time until a condition holds.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs all tasks that are due, without advancing the time.
pub(crate) async fn settle_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
