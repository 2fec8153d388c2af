//! Redis, three nodes and a balancer, and what is done to them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use fanfare_soak::report::Report;
use fanfare_soak::scenario::{Action, FaultInjector, FaultTarget, LATE, Scenario, Verb};
use fanfare_soak::soak::{Settings, Soak};
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::chaos_proxy::ChaosProxy;
use fanfare_testkit::loopback;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::form::{Form, is_long};

/// How many scenarios run at once. They wait most of the time.
const AT_ONCE: u32 = 2;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE as usize);

/// How long a node may take to leave: longer than its own deadline.
const LEAVES: Duration = Duration::from_mins(1);

/// A cluster as an operator has one. Its parts end in the order in which they stand here.
pub(crate) struct Stage {
    balancer: Balancer,
    /// None while a node is down.
    nodes: Vec<Option<Node>>,
    builders: Vec<NodeBuilder>,
    /// Between each node and Redis.
    proxies: Vec<ChaosProxy>,
    redis: Redis,
    _turn: SemaphorePermit<'static>,
}

impl Stage {
    /// A cluster with its data on disk, each node with the settings that `configure` makes.
    pub(crate) async fn behind(kind: Kind, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        Self::behind_changed(kind, &[], configure).await
    }

    /// The same, while no other scenario runs: for one that judges times. So do all in the long form.
    pub(crate) async fn alone_behind(kind: Kind, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        Self::set(kind, &[], configure, AT_ONCE).await
    }

    /// A cluster with other words in the balancer's file.
    pub(crate) async fn behind_changed(
        kind: Kind,
        words: &[(&str, &str)],
        configure: impl Fn(NodeBuilder) -> NodeBuilder,
    ) -> Self {
        Self::set(kind, words, configure, if is_long() { AT_ONCE } else { 1 }).await
    }

    async fn set(
        kind: Kind,
        words: &[(&str, &str)],
        configure: impl Fn(NodeBuilder) -> NodeBuilder,
        turns: u32,
    ) -> Self {
        let turn = TURNS.acquire_many(turns).await.expect("the turns are never closed");
        let redis = Redis::durable().await;
        let (mut nodes, mut builders, mut proxies) = (Vec::new(), Vec::new(), Vec::new());
        let addresses = [(); 3].map(|()| SocketAddr::from((loopback::address(), 8080)));
        for (address, name) in addresses.into_iter().zip(["a", "b", "c"]) {
            let proxy = ChaosProxy::before(redis.address()).await;
            let builder = configure(Node::of(&redis).id(name).at(address).through(&proxy.url()).keep(10_000));
            nodes.push(Some(builder.clone().start().await));
            builders.push(builder);
            proxies.push(proxy);
        }
        let balancer = Balancer::changed(kind, addresses, words).await;
        Self { balancer, nodes, builders, proxies, redis, _turn: turn }
    }

    /// Where clients go.
    pub(crate) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// A node that is up.
    pub(crate) fn node(&self, place: usize) -> &Node {
        self.nodes[place].as_ref().expect("the node is up")
    }

    /// Opens the clients of a scenario.
    pub(crate) async fn open(&self, scenario: Scenario, form: &Form) -> Soak {
        let settings = Settings {
            name: scenario.to_string(),
            url: self.balancer.url(),
            redis: Some(self.redis.url()),
            prefix: "fanfare".into(),
            clients: form.clients,
            ramp: 250.0,
            shared: 10,
            rate: form.rate,
            size: form.size,
            mix: form.mix.parse().expect("a mix"),
            settle: Duration::from_secs(30),
            progress: None,
            online: scenario.keeps_users_online(),
        };
        Soak::start(settings).await.unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Plays a whole scenario and prints its table.
    pub(crate) async fn play(&mut self, scenario: Scenario, form: &Form) -> Report {
        let mut soak = self.open(scenario, form).await;
        for step in scenario.steps(&form.options) {
            soak.step(&step, self).await.unwrap_or_else(|e| panic!("{e:#}"));
        }
        let report = soak.finish().await.unwrap_or_else(|e| panic!("{e:#}"));
        println!("{}", report.table());
        report
    }

    fn up(&mut self, place: usize) -> anyhow::Result<&mut Node> {
        self.nodes[place].as_mut().with_context(|| format!("node {place} is down"))
    }

    async fn act_on_node(&mut self, verb: Verb, place: usize) -> anyhow::Result<()> {
        match verb {
            Verb::Stop => {
                let node = self.up(place)?;
                node.terminate();
                let status = node.ended(LEAVES).await;
                ensure!(status.success(), "node {place} left with {status}\n{}", node.log());
                self.nodes[place] = None;
            }
            Verb::Kill => {
                self.up(place)?.kill().await;
                self.nodes[place] = None;
            }
            Verb::Start => {
                ensure!(self.nodes[place].is_none(), "node {place} is up");
                self.nodes[place] = Some(self.builders[place].clone().start().await);
            }
            Verb::Pause => self.up(place)?.pause(),
            Verb::Resume => self.up(place)?.resume(),
            Verb::Cut => self.proxies[place].pause(),
            Verb::Mend => self.proxies[place].resume(),
            Verb::Fill | Verb::Demote | Verb::Delay | Verb::Disconnect => {
                anyhow::bail!("{verb} is done to Redis only")
            }
            Verb::Attack => anyhow::bail!("{verb} is not done here"),
        }
        Ok(())
    }

    async fn act_on_redis(&mut self, verb: Verb) -> anyhow::Result<()> {
        match verb {
            Verb::Stop => self.redis.stop().await,
            Verb::Start => self.redis.start_again().await,
            Verb::Pause => self.redis.pause(),
            Verb::Resume => self.redis.resume(),
            Verb::Disconnect => {
                for kind in ["pubsub", "normal"] {
                    self.redis.kill_clients(kind).await;
                }
            }
            Verb::Fill => self.redis.get(&["CONFIG", "SET", "maxmemory", "1"]).await,
            // There is no primary to replicate from, so the data stays.
            Verb::Demote => self.redis.get(&["REPLICAOF", "127.0.0.1", "1"]).await,
            Verb::Delay => self.proxies.iter().for_each(|proxy| proxy.delay(LATE)),
            Verb::Mend => {
                self.redis.get::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
                self.redis.get::<()>(&["REPLICAOF", "NO", "ONE"]).await;
                self.proxies.iter().for_each(ChaosProxy::resume);
            }
            Verb::Kill | Verb::Cut | Verb::Attack => anyhow::bail!("{verb} is not done to Redis here"),
        }
        Ok(())
    }
}

impl FaultInjector for Stage {
    async fn act(&mut self, action: Action) -> anyhow::Result<()> {
        match action.who {
            FaultTarget::Node(place) => self.act_on_node(action.verb, place).await,
            FaultTarget::Redis => self.act_on_redis(action.verb).await,
        }
    }
}

/// Asserts that no event was lost, no client gave up, and events were delivered all the time.
///
/// # Panics
///
/// When not.
pub(crate) fn assert_passed(report: &Report) {
    assert!(report.passed, "\n{}", report.table());
    assert!(report.published > 0 && report.received >= report.due, "\n{}", report.table());
}
