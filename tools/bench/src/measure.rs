//! One measurement: a warm-up, a measured time, and the rest of what was published.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load_generator::{BenchError, LoadGenerator};
use super::measurement::{Cpu, Delays, Measurement, number};
use super::pacer::Pacer;
use super::process::{Watched, own_cpu};
use super::sample::Content;

/// Above this part of its core the load is taken for the limit.
const LIMIT: f64 = 0.9;
/// How long nothing may come in a closed loop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after the end everything may still be sent and come.
const SETTLE: Duration = Duration::from_secs(10);
/// Interval of progress lines, and of checking the clock while nothing happens.
const PROGRESS: Duration = Duration::from_secs(1);

/// When events are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many are out at any time: one that everybody has makes room for another. Delays count from the sending.
    InFlight(u64),
    /// So many a second, whatever comes. Delays count from the moment at which an event was due, so that a load or a
    /// server that keeps it waiting hides nothing.
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
    /// Whether to print progress on standard error.
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
    fn now(generator: &LoadGenerator, watched: &[Watched]) -> Self {
        Self {
            watched: watched.iter().map(Watched::cpu).collect(),
            own: own_cpu(),
            published: generator.published,
            received: generator.tally.received,
            bytes: generator.tally.bytes,
            at: Instant::now(),
        }
    }
}

impl LoadGenerator {
    /// Publishes and measures. `watched` are the processes whose processor time counts.
    ///
    /// # Errors
    ///
    /// Fails if a stream ends, an event is refused, or nothing comes any more.
    pub fn measure(&mut self, load: &Load, watched: &[Watched]) -> Result<Measurement, BenchError> {
        let began = self.tally.now();
        let mut pacer = Pacer::new(began);
        self.run(load, &mut pacer, began + load.warm_up)?;
        let from = self.tally.now();
        self.tally.measured = Some(from);
        let first = Moment::now(self, watched);
        let end = from + load.window;
        self.run(load, &mut pacer, end)?;
        let last = Moment::now(self, watched);
        let unsent = self.settle(load, &mut pacer, end)?;
        self.tally.measured = None;
        let delays = Delays::from(&self.tally.delays);
        self.tally.delays.reset();
        Ok(Measurement { delays, unsent, ..self.found(load, watched, &first, &last) })
    }

    /// Publishes until then.
    fn run(&mut self, load: &Load, pacer: &mut Pacer, end: Duration) -> Result<(), BenchError> {
        let mut told = self.tally.now();
        let mut moved = (self.tally.received, told);
        loop {
            let now = self.tally.now();
            if now >= end {
                return Ok(());
            }
            match load.pace {
                Pace::InFlight(events) => self.publish_into_the_room(load, events)?,
                Pace::Rate(rate) => self.publish_what_is_due(load, pacer, rate, end)?,
            }
            self.turn(Some(PROGRESS.min(end.saturating_sub(now))))?;
            self.all_is_well()?;
            if now.saturating_sub(told) >= PROGRESS {
                told = now;
                self.tell(load);
                if self.tally.received != moved.0 || matches!(load.pace, Pace::Rate(_)) {
                    moved = (self.tally.received, now);
                } else if now.saturating_sub(moved.1) > PATIENCE {
                    return Err(BenchError::Stuck(format!("{} events are missing", self.missing())));
                }
            }
        }
    }

    /// Sends as many as may be out.
    fn publish_into_the_room(&mut self, load: &Load, events: u64) -> Result<(), BenchError> {
        while self.published - self.tally.complete().min(self.published) < events && self.is_free() {
            let now = self.tally.now();
            self.publish_next(load, now)?;
        }
        self.flush()
    }

    /// Sends what is due now, if it is due by `end`.
    fn publish_what_is_due(
        &mut self,
        load: &Load,
        pacer: &mut Pacer,
        rate: f64,
        end: Duration,
    ) -> Result<(), BenchError> {
        let now = self.tally.now();
        if !pacer.ticks(now) {
            return Ok(());
        }
        while self.is_free()
            && let Some(due) = pacer.take(rate, now.min(end))
        {
            self.publish_next(load, due)?;
        }
        self.wake_after(pacer.rest(rate, now))?;
        self.flush()
    }

    fn publish_next(&mut self, load: &Load, stamp: Duration) -> Result<(), BenchError> {
        let target = self.any_target();
        self.publish(target, stamp, load.size, load.content)
    }

    /// Sends what was due by `end` and is not sent, and waits for what is still out; how many could not be sent.
    fn settle(&mut self, load: &Load, pacer: &mut Pacer, end: Duration) -> Result<u64, BenchError> {
        let patience = Instant::now() + SETTLE;
        let rate = match load.pace {
            Pace::Rate(rate) => Some(rate),
            Pace::InFlight(_) => None,
        };
        loop {
            if let Some(rate) = rate {
                self.publish_what_is_due(load, pacer, rate, end)?;
            }
            let unsent = rate.map_or(0, |rate| pacer.left(rate, end));
            if unsent + self.missing() == 0 || Instant::now() > patience {
                self.all_is_well()?;
                return Ok(unsent);
            }
            self.turn(Some(Duration::from_millis(100)))?;
        }
    }

    fn tell(&self, load: &Load) {
        if load.progress {
            let (published, received) = (self.published, self.tally.received);
            eprintln!("  {}: published {published}, received {received}", load.pace);
        }
    }

    fn found(&self, load: &Load, watched: &[Watched], first: &Moment, last: &Moment) -> Measurement {
        let seconds = (last.at - first.at).as_secs_f64();
        let delivered = last.received - first.received;
        let each = |sum: f64| if delivered == 0 { 0.0 } else { sum / number(delivered) };
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
            deliveries_per_second: number(delivered) / seconds,
            bytes_per_delivery: each(number(last.bytes - first.bytes)),
            cpu: by_label,
            anonymous: watched
                .iter()
                .map(|watched| (watched.label.clone(), watched.memory().anonymous))
                .collect(),
            delays: Delays::default(),
            unsent: 0,
            lost: self.missing(),
            surplus: self.surplus(),
            duplicated: faults.duplicated,
            out_of_order: faults.out_of_order,
            load_was_the_limit: own.cores > LIMIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::super::endpoint::{Audience, Endpoint, Way};
    use super::super::load_generator::GeneratorSettings;
    use super::super::sample;
    use super::*;

    const RATE: f64 = 10_000.0;

    #[test]
    fn what_is_due_leaves_in_one_write_and_each_is_stamped_with_when_it_was() {
        let redis = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = redis.local_addr().unwrap();
        let way = Way::Redis { address, command: vec!["{data}".into()] };
        let settings = GeneratorSettings { streams: 0, audience: Audience::All, sampled: 0, publishers: 1 };
        let mut generator = LoadGenerator::new(Endpoint::new(address, "/", way), settings).unwrap();
        let (mut socket, _) = redis.accept().unwrap();
        let load = Load {
            pace: Pace::Rate(RATE),
            size: 30,
            content: Content::Filler,
            warm_up: Duration::ZERO,
            window: Duration::ZERO,
            progress: false,
        };
        let began = generator.tally.now();
        let end = began + Duration::from_millis(1);
        while generator.tally.now() < end {
            std::hint::spin_loop();
        }
        let mut pacer = Pacer::new(began);
        generator.publish_what_is_due(&load, &mut pacer, RATE, end).unwrap();
        generator.publish_what_is_due(&load, &mut pacer, RATE, end).unwrap();
        assert_eq!(
            (generator.published, pacer.left(RATE, end)),
            (11, 0),
            "and none that is due after the end"
        );

        let mut buffer = [0; 4096];
        let length = socket.read(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let stamps: Vec<Duration> = text.lines().filter_map(sample::parse).map(|event| event.sent).collect();
        let micros = |time: Duration| time.as_micros();
        let due = (0..11).map(|event| micros(began + Duration::from_micros(100) * event));
        assert_eq!(stamps.into_iter().map(micros).collect::<Vec<_>>(), due.collect::<Vec<_>>());
    }
}
