//! Many streams and one publisher on one thread.

use std::io;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd};

use super::endpoint::{Audience, Endpoint};
use super::publisher::{Answers, Publisher};
use super::sample::{self, Content};
use super::stream::Stream;
use super::tally::{Reach, Tally};
use fanfare_testkit::numbered::Numbered;
use fanfare_testkit::received::{Faults, ReceivedEvents};

/// Bytes that one read may bring.
const BUFFER: usize = 64 * 1024;
/// Events of the poll that are handled between two looks at the clock.
const BATCH: usize = 1024;
/// Tokens below are streams.
const PUBLISHER: usize = usize::MAX / 2;
const TIMER: Token = Token(usize::MAX - 1);
/// How long nothing may happen that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A socket.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// Something that was waited for does not happen.
    #[error("the measurement is stuck: {0}")]
    Stuck(String),
    /// Streams ended, or were refused.
    #[error("{count} streams were refused or ended; the last: {why}")]
    Dropped {
        /// How many.
        count: u64,
        /// What is known of the last.
        why: String,
    },
    /// The server refused an event.
    #[error("{count} events were refused; the last: {why}")]
    Refused {
        /// How many.
        count: u64,
        /// What the server said to the last.
        why: String,
    },
}

/// Names what was tried.
fn io(what: &'static str) -> impl Fn(io::Error) -> BenchError {
    move |error| BenchError::Io { what, error }
}

/// What a load generator consists of.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorSettings {
    /// How many streams.
    pub streams: usize,
    /// Who gets an event.
    pub audience: Audience,
    /// How many of the streams read every event; the others count them.
    pub sampled: usize,
    /// How many publishing requests may be under way over HTTP.
    pub publishers: usize,
}

/// Streams, a publisher, and what came of both.
#[derive(Debug)]
pub struct LoadGenerator {
    endpoint: Endpoint,
    audience: Audience,
    requests: Vec<String>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    timer: TimerFd,
    streams: Vec<Stream>,
    pub(super) tally: Tally,
    publisher: Option<Publisher>,
    pub(super) answers: Answers,
    /// How many events each target was sent.
    numbers: Vec<u64>,
    pub(super) published: u64,
    /// The bytes of the event that is published.
    out: Vec<u8>,
    random: fastrand::Rng,
}

impl LoadGenerator {
    /// Creates a generator whose streams are all closed.
    ///
    /// # Errors
    ///
    /// Fails if its publisher cannot connect, or its tokens cannot be made.
    pub fn new(endpoint: Endpoint, settings: GeneratorSettings) -> Result<Self, BenchError> {
        let GeneratorSettings { streams: count, audience, sampled, publishers } = settings;
        let poll = Poll::new().map_err(io("poll"))?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)
            .map_err(|error| io("timer")(error.into()))?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)
            .map_err(io("timer"))?;
        let way = endpoint.way.as_ref();
        let publisher = way.map(|way| Publisher::open(way, publishers.max(1), PUBLISHER, poll.registry()));
        let publisher = publisher.transpose().map_err(io("the publisher's connection"))?;
        let step = count.checked_div(sampled).unwrap_or(usize::MAX).max(1);
        let received = |stream: usize| {
            let reads = sampled > 0 && stream.is_multiple_of(step) && stream / step < sampled;
            reads.then(|| ReceivedEvents::new(audience.of(stream)))
        };
        let reach = (audience == Audience::All).then(|| Reach::new(count));
        Ok(Self {
            requests: endpoint.requests(count, audience),
            endpoint,
            audience,
            poll,
            events: Events::with_capacity(BATCH),
            buffer: vec![0; BUFFER],
            timer,
            streams: (0..count).map(|stream| Stream::new(received(stream))).collect(),
            tally: Tally::new(reach),
            publisher,
            answers: Answers::default(),
            numbers: vec![0; audience.targets(count)],
            published: 0,
            out: Vec::new(),
            // The same users in the same order, whatever the server.
            random: fastrand::Rng::with_seed(7),
        })
    }

    /// Returns how many streams are open.
    pub fn open_streams(&self) -> usize {
        self.tally.open
    }

    /// Returns how many events all streams together have got.
    pub fn received(&self) -> u64 {
        self.tally.received
    }

    /// Returns how many bytes all streams together have got.
    pub fn bytes(&self) -> u64 {
        self.tally.bytes
    }

    /// Returns how many events were published.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Opens all streams that are closed, so many at a time, and says how long that took.
    ///
    /// # Errors
    ///
    /// Fails if a stream is refused, or no answer comes.
    pub fn open(&mut self, at_a_time: usize) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let mut closed: Vec<usize> =
            (0..self.streams.len()).rev().filter(|at| self.streams[*at].is_closed()).collect();
        let mut last = (self.tally.open, Instant::now());
        while !closed.is_empty() || self.tally.opening > 0 {
            while self.tally.opening < at_a_time
                && let Some(at) = closed.pop()
            {
                let stream = &mut self.streams[at];
                let registry = self.poll.registry();
                stream
                    .start(at, self.endpoint.address, &self.requests[at], registry, &mut self.tally)
                    .map_err(io("a stream's socket"))?;
            }
            self.turn(Some(Duration::from_millis(100)))?;
            self.all_is_well()?;
            if self.tally.open != last.0 {
                last = (self.tally.open, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                let open = self.tally.open;
                return Err(BenchError::Stuck(format!("{open} of {} streams are open", self.streams.len())));
            }
        }
        Ok(began.elapsed())
    }

    /// Closes every stream.
    pub fn close(&mut self) {
        for stream in &mut self.streams {
            stream.close(&mut self.tally);
        }
    }

    /// Lets things happen for so long.
    ///
    /// # Errors
    ///
    /// Fails if a stream ends.
    pub fn rest(&mut self, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(Some(left))?;
            self.all_is_well()?;
        }
        Ok(())
    }

    /// Lets things happen until all events have come that streams should have.
    ///
    /// # Errors
    ///
    /// Fails if a stream ends, or nothing comes for a long time.
    pub fn wait_for_all(&mut self) -> Result<(), BenchError> {
        let mut last = (self.tally.received, Instant::now());
        while self.missing() > 0 {
            self.turn(Some(Duration::from_millis(100)))?;
            self.all_is_well()?;
            if self.tally.received != last.0 {
                last = (self.tally.received, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(BenchError::Stuck(format!("{} events are missing", self.missing())));
            }
        }
        Ok(())
    }

    /// Publishes one event to every target and waits until the server has taken them all, but not until they came.
    ///
    /// # Errors
    ///
    /// Fails if an event is refused.
    pub fn publish_round(&mut self, size: usize, content: Content) -> Result<(), BenchError> {
        self.publish_rounds(1, size, content)
    }

    /// The same several times, without waiting in between.
    ///
    /// # Errors
    ///
    /// Fails if an event is refused.
    pub fn publish_rounds(&mut self, rounds: usize, size: usize, content: Content) -> Result<(), BenchError> {
        let targets = self.numbers.len();
        let (mut sent, all) = (0, rounds * targets);
        let wanted = self.answers.accepted + all as u64;
        let mut last = (self.answers.accepted, Instant::now());
        while self.answers.accepted < wanted {
            while sent < all && self.is_free() {
                let now = self.tally.now();
                self.publish(sent % targets, now, size, content)?;
                sent += 1;
            }
            self.flush()?;
            self.turn(Some(Duration::from_millis(100)))?;
            self.all_is_well()?;
            if self.answers.accepted != last.0 {
                last = (self.answers.accepted, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(BenchError::Stuck("the server does not accept events".into()));
            }
        }
        Ok(())
    }

    /// Events that should have come and did not, by counting.
    pub fn missing(&self) -> u64 {
        let missing = |(at, stream): (usize, &Stream)| self.due(at).saturating_sub(stream.events());
        self.streams.iter().enumerate().map(missing).sum()
    }

    /// Events that came and should not have, by counting.
    pub fn surplus(&self) -> u64 {
        let surplus = |(at, stream): (usize, &Stream)| stream.events().saturating_sub(self.due(at));
        self.streams.iter().enumerate().map(surplus).sum()
    }

    /// Returns what the streams say that read every event.
    pub fn faults(&self) -> Faults {
        let accounts = self.streams.iter().filter_map(Stream::received);
        accounts.map(|received| received.judge(|target| self.numbers[target])).fold(
            Faults::default(),
            |sum, faults| Faults {
                lost: sum.lost + faults.lost,
                duplicated: sum.duplicated + faults.duplicated,
                out_of_order: sum.out_of_order + faults.out_of_order,
            },
        )
    }

    /// Returns how many events a stream should have.
    fn due(&self, stream: usize) -> u64 {
        self.numbers[self.audience.of(stream)].iter().sum()
    }

    /// Returns a target for the next event: any.
    pub(super) fn any_target(&mut self) -> usize {
        self.random.usize(..self.numbers.len())
    }

    /// Returns whether an event can be sent now.
    pub(super) fn is_free(&self) -> bool {
        self.publisher.as_ref().is_some_and(Publisher::is_free)
    }

    /// Sends one event to a target, stamped with the time from which its delay counts.
    pub(super) fn publish(
        &mut self,
        target: usize,
        stamp: Duration,
        size: usize,
        content: Content,
    ) -> Result<(), BenchError> {
        let (Some(publisher), Some(way)) = (&mut self.publisher, &self.endpoint.way) else { return Ok(()) };
        self.numbers[target] += 1;
        self.published += 1;
        let event = Numbered { channel: target, number: self.numbers[target], sent: stamp };
        self.out.clear();
        way.encode(target, &sample::data(&event, size, content), &mut self.out);
        publisher.send(&self.out).map_err(io("publishing"))
    }

    /// Sends what was laid by.
    pub(super) fn flush(&mut self) -> Result<(), BenchError> {
        self.publisher.as_mut().map_or(Ok(()), Publisher::flush).map_err(io("publishing"))
    }

    /// Asks to be woken after so long: exact where the poll's own time-out counts milliseconds.
    pub(super) fn wake_after(&mut self, time: Duration) -> Result<(), BenchError> {
        // Zero would stop the timer.
        let time = Expiration::OneShot(TimeSpec::from(time.max(Duration::from_nanos(1))));
        self.timer.set(time, TimerSetTimeFlags::empty()).map_err(|error| io("timer")(error.into()))
    }

    /// Handles what there is; waits for it at most so long.
    pub(super) fn turn(&mut self, wait: Option<Duration>) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(io("poll")(error)),
            _ => {}
        }
        for event in &self.events {
            let token = event.token();
            if let Some(stream) = self.streams.get_mut(token.0) {
                stream.on(event, self.endpoint.ready.as_bytes(), &mut self.buffer, &mut self.tally);
            } else if token != TIMER
                && let Some(publisher) = &mut self.publisher
            {
                publisher.on(event, &mut self.buffer, &mut self.answers).map_err(io("publishing"))?;
            }
        }
        Ok(())
    }

    /// Fails if a stream or an event was refused.
    pub(super) fn all_is_well(&self) -> Result<(), BenchError> {
        if self.tally.dropped > 0 {
            let why = self.tally.why.clone().unwrap_or_default();
            return Err(BenchError::Dropped { count: self.tally.dropped, why });
        }
        if self.answers.refused > 0 {
            let why = self.answers.why.clone().unwrap_or_default();
            return Err(BenchError::Refused { count: self.answers.refused, why });
        }
        Ok(())
    }
}
