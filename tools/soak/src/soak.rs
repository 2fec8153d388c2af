//! One run: clients on the cluster, numbered events, a scenario, a verdict.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{self, ClientRecord};
use crate::effect::Effect;
use crate::ledger::Ledger;
use crate::lifecycle::{self, Listener};
use crate::plan::{Mix, Plan};
use crate::progress::Progress;
use crate::publish_client::PublishClient;
use crate::publisher_pool::PublisherPool;
use crate::report::Report;
use crate::scenario::{FaultInjector, Step};
use fanfare_testkit::event_source::EventSource;
use fanfare_testkit::received::ReceivedEvents;
use fanfare_testkit::target::Target;

/// Beginning of the response to an accepted stream.
const ANSWER: &[u8; 12] = b"HTTP/1.1 200";
/// Maximum time until a fault has its required effect; at most the settle time of the run.
const SHOWN: Duration = Duration::from_secs(10);
/// Interval of polling a condition.
const STEP: Duration = Duration::from_millis(20);
/// Maximum time until all clients are connected, or connected again.
const BACK: Duration = Duration::from_mins(1);

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name in the report.
    pub name: String,
    /// Address of the cluster or its load balancer.
    pub url: String,
    /// URL of Redis, for publishing through Redis and for the lifecycle stream.
    pub redis: Option<String>,
    /// Prefix of the cluster's keys.
    pub prefix: String,
    /// How many clients.
    pub clients: usize,
    /// How many of them connect in a second at the start.
    pub ramp: f64,
    /// How many channels every other client shares with some.
    pub shared: usize,
    /// Events a second, over all channels.
    pub rate: f64,
    /// Bytes of data in each event.
    pub size: usize,
    /// By which ways the events come in.
    pub mix: Mix,
    /// How long after the scenario everything that was accepted may still come.
    pub settle: Duration,
    /// Interval of progress lines on stderr; `None` for no progress.
    pub progress: Option<Duration>,
    /// Whether a `user.offline` meanwhile is a fault.
    pub online: bool,
}

/// A run in progress. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Soak {
    settings: Settings,
    target: Target,
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    ledger: Arc<Ledger>,
    pool: Arc<PublisherPool>,
    /// Each ends with the record of its client, in any order.
    clients: JoinSet<(usize, ClientRecord)>,
    publishers: JoinSet<()>,
    /// None without Redis.
    listener: Option<JoinHandle<lifecycle::LifecycleCounts>>,
    /// The listener reads to the end and stops.
    stop_listener: CancellationToken,
    /// The clients close their connections.
    close_clients: CancellationToken,
    /// Connections that are never read.
    stalled: Vec<TcpStream>,
    notes: Vec<String>,
    /// Task that prints progress; aborted when the run is dropped.
    reporter: Option<tokio_util::task::AbortOnDropHandle<()>>,
}

impl Soak {
    /// Opens all streams, and starts to publish when they are open, so that each client must receive all events.
    ///
    /// # Errors
    ///
    /// Fails if an address is invalid, Redis is unavailable, or not all streams are open within a minute after the
    /// last one should be.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let target = Target::resolve(&settings.url).await?;
        let redis =
            settings.redis.as_deref().map(redis::Client::open).transpose().context("the URL of Redis")?;
        anyhow::ensure!(
            redis.is_some() || !settings.mix.needs_redis(),
            "publishing by {} needs Redis",
            settings.mix
        );
        anyhow::ensure!(settings.rate > 0.0 && settings.ramp > 0.0, "a rate must be above zero");
        let plan = Arc::new(Plan::new(settings.clients, settings.shared, &settings.mix));
        let progress = Arc::new(Progress::new("opening"));
        let ledger = Arc::new(Ledger::new(plan.followers()));
        let pool = Arc::new(PublisherPool {
            plan: Arc::clone(&plan),
            ledger: Arc::clone(&ledger),
            progress: Arc::clone(&progress),
            rate: settings.rate,
            size: settings.size,
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            last_error: Mutex::new(None),
        });
        let (stop_listener, close_clients) = (CancellationToken::new(), CancellationToken::new());
        let listener = match &redis {
            Some(client) => {
                let listener =
                    Listener::begin(client.clone(), &settings.prefix, &plan.run).await.context("Redis")?;
                Some(tokio::spawn(listener.listen(stop_listener.clone())))
            }
            None => None,
        };
        let reporter = settings.progress.map(|every| {
            let (progress, ledger) = (Arc::clone(&progress), Arc::clone(&ledger));
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(report_progress(progress, ledger, every)))
        });
        let mut soak = Self {
            target,
            plan,
            progress,
            ledger,
            pool,
            clients: JoinSet::new(),
            publishers: JoinSet::new(),
            listener,
            stop_listener,
            close_clients,
            stalled: Vec::new(),
            notes: Vec::new(),
            reporter,
            settings,
        };
        soak.open().await?;
        let Settings { prefix, .. } = &soak.settings;
        let publish_client = |number| PublishClient::new(number, soak.target.clone(), redis.clone(), prefix);
        soak.publishers = soak.pool.open(publish_client);
        Ok(soak)
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        for (number, client) in self.plan.clients.iter().enumerate() {
            let source = EventSource::new(self.target.clone(), number, client.path.clone());
            let received = ReceivedEvents::new(client.channels.iter().copied());
            #[allow(clippy::cast_precision_loss)]
            let after = Duration::from_secs_f64(number as f64 / self.settings.ramp);
            let record =
                client::run(source, received, Arc::clone(&self.progress), after, self.close_clients.clone());
            self.clients.spawn(async move { (number, record.await) });
        }
        #[allow(clippy::cast_precision_loss)]
        let ramp = Duration::from_secs_f64(self.settings.clients as f64 / self.settings.ramp);
        let open = self.back(ramp + BACK).await;
        anyhow::ensure!(open, "only {} of {} streams are open", self.progress.open(), self.settings.clients);
        Ok(())
    }

    /// Waits until every client that has not given up has its stream. False if not in time.
    async fn back(&self, limit: Duration) -> bool {
        let all = || self.progress.open() + self.progress.given_up() >= self.settings.clients;
        reached(limit, all).await
    }

    /// Takes one step.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be done to the cluster.
    pub async fn step(&mut self, step: &Step, faults: &mut impl FaultInjector) -> anyhow::Result<()> {
        match step {
            Step::Phase(label) => {
                if self.settings.progress.is_some() {
                    eprintln!("-- {label}");
                }
                self.progress.begin(label);
            }
            Step::Do(action) => {
                let what = format!("{} {}", action.verb, action.who);
                faults.act(*action).await.with_context(|| what)?;
            }
            Step::Wait(length) => tokio::time::sleep(*length).await,
            Step::AwaitReconnects => {
                if !self.back(BACK).await {
                    let there = self.progress.open() + self.progress.given_up();
                    self.notes
                        .push(format!("{} clients were not back in a minute", self.settings.clients - there));
                }
            }
            Step::Require(effect) => self.prove(*effect).await,
            Step::Stall(clients) => self.stall(*clients).await.context("clients that do not read")?,
        }
        Ok(())
    }

    /// Returns how many streams are open now.
    pub fn open_streams(&self) -> usize {
        self.progress.open()
    }

    /// Waits until a fault has shown what it must cause, and notes it if it has not.
    async fn prove(&mut self, effect: Effect) {
        let proof = || self.progress.so_far().map(|phase| effect.proof(&phase, self.unread()));
        reached(self.settings.settle.min(SHOWN), || proof().is_some_and(|proof| proof.holds)).await;
        let Some(proof) = proof() else { return };
        if !proof.holds {
            let label = self.progress.so_far().map_or_else(String::new, |phase| phase.label);
            self.notes.push(format!(
                "{label}: the fault proves nothing: required {}, found {}",
                proof.wanted, proof.found
            ));
        }
        self.progress.prove(proof);
    }

    /// Returns the number of unread connections that have a stream.
    fn unread(&self) -> usize {
        let answered = |socket: &&TcpStream| {
            let mut head = [0; ANSWER.len()];
            // A peek leaves it there.
            let read = recv(socket.as_raw_fd(), &mut head, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
            read.is_ok() && head == *ANSWER
        };
        self.stalled.iter().filter(answered).count()
    }

    async fn stall(&mut self, clients: usize) -> anyhow::Result<()> {
        self.stalled.truncate(clients);
        for number in self.stalled.len()..clients {
            let mut socket = self.target.connect_small(number).await?;
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
                self.plan.extra(number),
                self.target.authority()
            );
            socket.write_all(request.as_bytes()).await?;
            self.stalled.push(socket);
        }
        Ok(())
    }

    /// Stops publishing, waits for what was accepted, and judges.
    ///
    /// # Errors
    ///
    /// Fails if a part of the run has panicked.
    pub async fn finish(mut self) -> anyhow::Result<Report> {
        self.progress.begin("settling");
        self.pool.stop.cancel();
        let end = Instant::now() + self.settings.settle;
        let joined = tokio::time::timeout_at(end, join_all(&mut self.publishers)).await;
        self.pool.abandon.cancel();
        if joined.is_err() {
            join_all(&mut self.publishers).await?;
        }
        let all = || self.progress.received() >= self.ledger.due();
        reached(end.saturating_duration_since(Instant::now()), all).await;
        self.stop_listener.cancel();
        let counts = match self.listener.take() {
            Some(listener) => listener.await?,
            None => lifecycle::LifecycleCounts::new(),
        };
        self.close_clients.cancel();
        let mut records: Vec<_> = Vec::with_capacity(self.settings.clients);
        while let Some(record) = self.clients.join_next().await {
            records.push(record?);
        }
        records.sort_by_key(|(number, _)| *number);
        let records: Vec<ClientRecord> = records.into_iter().map(|(_, record)| record).collect();
        drop(self.reporter.take());
        Ok(self.report(&records, counts))
    }

    fn report(&self, records: &[ClientRecord], counts: lifecycle::LifecycleCounts) -> Report {
        let Settings { name, online, .. } = &self.settings;
        let mut report = Report::judge(name.clone(), self.plan.run.clone(), records, &self.ledger);
        report.received = self.progress.received();
        report.publish_errors = self.progress.publish_errors();
        report.phases = self.progress.summaries();
        report.notes.clone_from(&self.notes);
        if let Some(offline) = counts.get("user.offline")
            && *online
        {
            report
                .notes
                .push(format!("user.offline was reported {offline} times for users that only reconnected"));
        }
        let last_error = self.pool.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &*last_error
            && report.unknown > 0
        {
            report.notes.push(format!("the last error of a publisher: {error}"));
        }
        report.lifecycle = counts;
        report.decide();
        report
    }
}

async fn join_all(tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// Looks again and again. False if the condition does not hold in time.
async fn reached(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(STEP).await;
    }
    true
}

async fn report_progress(progress: Arc<Progress>, ledger: Arc<Ledger>, every: Duration) {
    let mut pace = tokio::time::interval(every);
    loop {
        pace.tick().await;
        eprintln!(
            "{:6.1} s  open {}  given up {}  events {}  deliveries {} of {}  publish errors {}",
            progress.elapsed().as_secs_f64(),
            progress.open(),
            progress.given_up(),
            ledger.total(),
            progress.received(),
            ledger.due(),
            progress.publish_errors()
        );
    }
}
