//! A broker that fails, hangs and loses replies by script, in front of the memory broker.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_protocol::Position;
use fanfare_protocol::publish::Publication;

use super::fault::{Call, Fault};
use crate::{Broker, BrokerError, BrokerSettings, MemoryBroker};

/// Decides for one entry of a call to publish.
type ItemFault = Box<dyn FnMut(&Publication) -> Option<BrokerError> + Send>;

#[derive(Default)]
pub(super) struct Script {
    next: HashMap<Call, VecDeque<Fault>>,
    always: HashMap<Call, Fault>,
    down: bool,
    calls: HashMap<Call, usize>,
    in_progress: HashMap<Call, usize>,
    most_at_once: HashMap<Call, usize>,
    pub(super) publish: Option<ItemFault>,
    pub(super) batches: Vec<usize>,
}

/// The memory broker behind a script.
#[derive(Clone)]
pub struct FaultyBroker {
    /// The memory broker, without faults.
    pub inner: MemoryBroker,
    script: Arc<Mutex<Script>>,
}

impl fmt::Debug for FaultyBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyBroker")
    }
}

impl Default for FaultyBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyBroker {
    /// Creates a broker without faults.
    pub fn new() -> Self {
        Self::with(BrokerSettings::default())
    }

    /// Creates a broker with settings, without faults.
    pub fn with(settings: BrokerSettings) -> Self {
        let inner = MemoryBroker::starting_at(settings, 1_700_000_000_000);
        Self { inner, script: Arc::default() }
    }

    /// Returns the broker as a node shares it.
    pub fn shared(&self) -> Arc<dyn Broker> {
        Arc::new(self.clone())
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        // A panicking test leaves plain data.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies faults to the next calls of this kind, one each.
    pub fn next(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.script().next.entry(call).or_default().extend(faults);
    }

    /// Applies a fault to every call of this kind, until [`Self::heal`].
    pub fn always(&self, call: Call, fault: Fault) {
        self.script().always.insert(call, fault);
    }

    /// Sets whether every call fails.
    pub fn down(&self, down: bool) {
        self.script().down = down;
    }

    /// Removes all faults.
    pub fn heal(&self) {
        let mut script = self.script();
        script.next.clear();
        script.always.clear();
        script.publish = None;
        script.down = false;
    }

    /// Sets a function that is called for each intake entry; an entry for which it returns an error is not stored.
    pub fn fail_items(&self, decide: impl FnMut(&Publication) -> Option<BrokerError> + Send + 'static) {
        self.script().publish = Some(Box::new(decide));
    }

    /// Returns the number of calls of this kind.
    pub fn calls(&self, call: Call) -> usize {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// Returns the maximum number of concurrent calls of this kind.
    pub fn most_at_once(&self, call: Call) -> usize {
        self.script().most_at_once.get(&call).copied().unwrap_or_default()
    }

    /// Resets the counts.
    pub fn forget_counts(&self) {
        let mut script = self.script();
        script.calls.clear();
        script.most_at_once.clear();
    }

    /// Returns the number of intake entries of each publish call.
    pub fn batches(&self) -> Vec<usize> {
        self.script().batches.clone()
    }

    /// Returns the lifecycle stream as `event user` words, without positions.
    pub fn lifecycle(&self) -> Vec<String> {
        let value = |fields: &[(String, String)], name: &str| {
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
        };
        let entries = self.inner.lifecycle();
        let line = |(_, fields): &(Position, Vec<(String, String)>)| {
            let reason = value(fields, "reason").map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{}{reason}", value(fields, "event").unwrap_or_default())
        };
        entries.iter().map(line).collect()
    }

    /// Counts a call and carries it out, unless its fault says otherwise.
    pub(super) async fn call<T: Send>(
        &self,
        call: Call,
        carry_out: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        let fault = {
            let mut script = self.script();
            *script.calls.entry(call).or_default() += 1;
            let now = script.in_progress.entry(call).or_default();
            *now += 1;
            let now = *now;
            let most = script.most_at_once.entry(call).or_default();
            *most = now.max(*most);
            let next = script.next.get_mut(&call).and_then(VecDeque::pop_front);
            let always = script.always.get(&call).copied();
            if script.down { Fault::Unavailable } else { next.or(always).unwrap_or(Fault::Fine) }
        };
        let _in_progress = InProgress(self, call);
        let unavailable = || BrokerError::Unavailable("by script".into());
        match fault {
            Fault::Fine => carry_out.await,
            Fault::Unavailable => Err(unavailable()),
            Fault::Refused => Err(BrokerError::Refused("by script".into())),
            Fault::ReplyLost => {
                carry_out.await?;
                Err(unavailable())
            }
            Fault::Late(time) => {
                tokio::time::sleep(time).await;
                carry_out.await
            }
            Fault::LateReply(time) => {
                let result = carry_out.await;
                tokio::time::sleep(time).await;
                result
            }
            Fault::LateError(time) => {
                tokio::time::sleep(time).await;
                Err(unavailable())
            }
            Fault::Hung => std::future::pending().await,
        }
    }
}

struct InProgress<'a>(&'a FaultyBroker, Call);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        *self.0.script().in_progress.entry(self.1).or_default() -= 1;
    }
}
