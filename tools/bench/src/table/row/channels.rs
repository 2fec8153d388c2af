//! Many channels on one node, and a lost subscriber connection.

use std::time::{Duration, Instant};

use crate::endpoint::Audience;
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measurement::number;
use crate::sample::Content;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How many streams.
const STREAMS: usize = 10_000;
/// Number of channels of each stream that no other stream follows.
const CHANNELS: usize = 10;

/// Measures the memory of channels beyond that of their streams, and the time to recover all clients after a lost
/// subscriber connection.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let streams = environment.streams(STREAMS);
    // With one channel each; `Each(1)` would be users.
    let (few, few_redis, _) = open(environment, streams, 2, false)?;
    let (many, many_redis, repair) = open(environment, streams, CHANNELS, true)?;
    let channels = number((streams * (CHANNELS - 2)) as u64);
    let each = |many: u64, few: u64| number(many.saturating_sub(few)) / channels;
    let Some(repair) = repair else { return Ok(()) };
    recorder.write(
        "100,000 channels",
        "fanfare",
        &[
            ("bytes a channel", each(many, few)),
            ("redis bytes a channel", each(many_redis, few_redis)),
            ("repair s", repair.all.as_secs_f64()),
            ("first s", repair.first.as_secs_f64()),
        ],
    );
    Ok(())
}

/// Counted from the moment at which Redis could be reached again.
struct Repair {
    first: Duration,
    all: Duration,
}

/// Returns the memory of node and Redis with so many channels for each stream, and the repair if it is asked for.
fn open(
    environment: &Environment,
    streams: usize,
    channels: usize,
    repair: bool,
) -> anyhow::Result<(u64, u64, Option<Repair>)> {
    let audience = Audience::Each(channels);
    let running = Fanfare::default().start(environment, audience)?;
    let Some(redis) = &running.redis else { anyhow::bail!("there is no Redis") };
    let watched = running.watched();
    let before: Vec<u64> = watched.iter().map(|watched| watched.memory().anonymous).collect();
    let settings = GeneratorSettings { streams, audience, sampled: 0, publishers: 1 };
    let mut generator = LoadGenerator::new(running.endpoint.clone(), settings)?;
    generator.open(64)?;
    generator.rest(environment.time(Duration::from_secs(5)))?;
    let memory: Vec<u64> = watched
        .iter()
        .zip(before)
        .map(|(watched, before)| watched.memory().anonymous.saturating_sub(before))
        .collect();
    let repair =
        if repair { Some(lose_the_subscriber_connection(environment, &mut generator, redis)?) } else { None };
    Ok((memory[0], memory[1], repair))
}

/// Cuts the subscriber connection and prevents reconnects while each channel gets an event.
fn lose_the_subscriber_connection(
    environment: &Environment,
    generator: &mut LoadGenerator,
    redis: &Redis,
) -> anyhow::Result<Repair> {
    let mut operator = redis.connect()?;
    // Established connections stay: what is cut cannot come back, and the publisher goes on.
    let most: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("maxclients").query(&mut operator)?;
    let most = most.get(1).cloned().unwrap_or_else(|| "10000".into());
    redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(1).exec(&mut operator)?;
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut operator)?;
    generator.rest(environment.time(Duration::from_millis(500)))?;
    let before = generator.received();
    generator.publish_round(100, Content::Filler)?;
    anyhow::ensure!(
        generator.received() == before,
        "events came although the subscriber connection was closed"
    );
    redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(most).exec(&mut operator)?;
    let began = Instant::now();
    while generator.received() == before && began.elapsed() < Duration::from_secs(30) {
        generator.rest(Duration::from_millis(1))?;
    }
    let first = began.elapsed();
    generator.wait_for_all()?;
    Ok(Repair { first, all: began.elapsed() })
}
