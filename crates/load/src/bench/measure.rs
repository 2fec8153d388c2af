//! One measurement: a warm-up, a measured time, and the rest of what was published.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::crowd::{BenchError, Crowd};
use super::measurement::{Cpu, Delays, Measurement};
use super::process::{Watched, own_cpu};
use super::sample::Content;

/// Above this part of its core the load is taken for the limit.
const LIMIT: f64 = 0.9;
/// How long nothing may come in a closed loop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after the end everything may still come.
const SETTLE: Duration = Duration::from_secs(10);
/// How often progress is told, and the clock looked at when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// When events are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many are out at any time: one that everybody has makes room for another.
    InFlight(u64),
    /// So many a second, whatever comes.
    Rate(f64),
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InFlight(events) => write!(f, "{events} in flight"),
            Self::Rate(rate) => write!(f, "{rate:.0} a second"),
        }
    }
}

/// What is published, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// When.
    pub pace: Pace,
    /// Bytes of data in an event.
    pub size: usize,
    /// What is in it.
    pub content: Content,
    /// How long before anything is measured.
    pub warm_up: Duration,
    /// How long is measured.
    pub window: Duration,
    /// Whether to tell on standard error how it goes.
    pub progress: bool,
}

/// The state of everything at one moment.
struct Moment {
    at: Instant,
    published: u64,
    received: u64,
    bytes: u64,
    own: Duration,
    watched: Vec<Duration>,
}

impl Moment {
    fn now(crowd: &Crowd, watched: &[Watched]) -> Self {
        Self {
            watched: watched.iter().map(Watched::cpu).collect(),
            own: own_cpu(),
            published: crowd.published,
            received: crowd.tally.received,
            bytes: crowd.tally.bytes,
            at: Instant::now(),
        }
    }
}

impl Crowd {
    /// Publishes and measures. `watched` are the processes whose processor time counts.
    ///
    /// # Errors
    ///
    /// When a stream ends, an event is refused, or nothing comes any more.
    pub fn measure(&mut self, load: &Load, watched: &[Watched]) -> Result<Measurement, BenchError> {
        self.run(load, load.warm_up)?;
        let delays_from = self.tally.now();
        self.tally.measured = Some(delays_from);
        let first = Moment::now(self, watched);
        self.run(load, load.window)?;
        let last = Moment::now(self, watched);
        self.settle()?;
        self.tally.measured = None;
        let delays = Delays::from(&std::mem::take(&mut self.tally.delays));
        Ok(self.found(load, watched, &first, &last, delays))
    }

    /// Publishes for so long.
    fn run(&mut self, load: &Load, time: Duration) -> Result<(), BenchError> {
        let began = Instant::now();
        let mut pacer = Pacer { began, sent: 0 };
        let mut moved = (self.tally.received, Instant::now());
        let mut told = began;
        loop {
            let now = Instant::now();
            if now - began >= time {
                return Ok(());
            }
            let wait = self.publish_what_is_due(load, &mut pacer, now)?;
            self.flush()?;
            self.turn(Some(wait))?;
            self.all_is_well()?;
            if now - told >= TICK {
                told = now;
                self.tell(load);
                if self.tally.received != moved.0 || matches!(load.pace, Pace::Rate(_)) {
                    moved = (self.tally.received, now);
                } else if now - moved.1 > PATIENCE {
                    return Err(BenchError::Stuck(format!("{} events do not come", self.missing())));
                }
            }
        }
    }

    /// Sends what is due at this moment; says how long the next turn may wait.
    fn publish_what_is_due(
        &mut self,
        load: &Load,
        pacer: &mut Pacer,
        now: Instant,
    ) -> Result<Duration, BenchError> {
        match load.pace {
            Pace::InFlight(events) => {
                while self.published - self.tally.complete().min(self.published) < events && self.is_free() {
                    self.publish_next(load)?;
                }
            }
            Pace::Rate(rate) => {
                while pacer.due(rate) <= now && self.is_free() {
                    self.publish_next(load)?;
                    pacer.sent += 1;
                }
                if let Some(wait) = pacer.due(rate).checked_duration_since(now) {
                    self.wake_after(wait)?;
                }
            }
        }
        Ok(TICK)
    }

    fn publish_next(&mut self, load: &Load) -> Result<(), BenchError> {
        let target = self.any_target();
        self.publish(target, load.size, load.content)
    }

    /// Waits for what is still out.
    fn settle(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + SETTLE;
        while self.missing() > 0 && Instant::now() < end {
            self.turn(Some(Duration::from_millis(100)))?;
        }
        self.all_is_well()
    }

    fn tell(&self, load: &Load) {
        if load.progress {
            let (published, received) = (self.published, self.tally.received);
            eprintln!("  {}: published {published}, received {received}", load.pace);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn found(
        &self,
        load: &Load,
        watched: &[Watched],
        first: &Moment,
        last: &Moment,
        delays: Delays,
    ) -> Measurement {
        let seconds = (last.at - first.at).as_secs_f64();
        let delivered = last.received - first.received;
        let each = |sum: f64| if delivered == 0 { 0.0 } else { sum / delivered as f64 };
        let cpu = |time: Duration| {
            let time = time.as_secs_f64();
            Cpu { seconds: time, cores: time / seconds, per_delivery: each(time * 1e6) }
        };
        let times = first.watched.iter().zip(&last.watched).map(|(first, last)| last.saturating_sub(*first));
        let mut by_label: BTreeMap<String, Cpu> =
            watched.iter().zip(times).map(|(watched, time)| (watched.label.clone(), cpu(time))).collect();
        let own = cpu(last.own.saturating_sub(first.own));
        by_label.insert("load".into(), own);
        let faults = self.faults();
        Measurement {
            streams: self.open_streams(),
            size: load.size,
            pace: load.pace.to_string(),
            seconds,
            published: last.published - first.published,
            delivered,
            deliveries_per_second: delivered as f64 / seconds,
            bytes_per_delivery: each((last.bytes - first.bytes) as f64),
            cpu: by_label,
            anonymous: watched
                .iter()
                .map(|watched| (watched.label.clone(), watched.memory().anonymous))
                .collect(),
            delays,
            lost: self.missing(),
            surplus: self.surplus(),
            duplicated: faults.duplicated,
            out_of_order: faults.out_of_order,
            load_was_the_limit: own.cores > LIMIT,
        }
    }
}

/// When the next event is due.
struct Pacer {
    began: Instant,
    sent: u64,
}

impl Pacer {
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn due(&self, rate: f64) -> Instant {
        self.began + Duration::from_secs_f64(self.sent as f64 / rate)
    }
}
