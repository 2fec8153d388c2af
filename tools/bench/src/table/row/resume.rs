//! Ten thousand clients come back in one moment, each with a cursor and an event that it missed.

use std::time::{Duration, Instant};

use super::monitor::Monitor;
use crate::endpoint::Audience;
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measurement::number;
use crate::sample::Content;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How many clients.
const CLIENTS: usize = 10_000;
/// How many connect at a time: more would measure the listen queue.
const CONNECTING: usize = 1000;

/// Time for which they are disconnected: longer than `stream.unsubscribe_delay`, so that the node keeps nothing of
/// their channels, as on a different node.
const AWAY: Duration = Duration::from_secs(8);

/// Plain connects first, then the same clients again, twice: once timed, once listened to.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let clients = environment.streams(CLIENTS);
    let running = Fanfare::default().start(environment, Audience::Each(1))?;
    let Some(redis) = &running.redis else { anyhow::bail!("there is no Redis") };
    let settings =
        GeneratorSettings { streams: clients, audience: Audience::Each(1), sampled: clients, publishers: 1 };
    let mut generator = LoadGenerator::new(running.endpoint.clone(), settings)?;
    let plain = generator.open(CONNECTING)?;
    generator.publish_round(100, Content::Filler)?;
    generator.wait_for_all()?;

    miss_one(&mut generator)?;
    let began = Instant::now();
    generator.open(CONNECTING)?;
    generator.wait_for_all()?;
    let resumed = began.elapsed();

    miss_one(&mut generator)?;
    let idle = idle_rate(environment, &mut generator, redis)?;
    let monitor = Monitor::start(redis.address)?;
    let began = Instant::now();
    generator.open(CONNECTING)?;
    generator.wait_for_all()?;
    let took = began.elapsed();
    let asked = monitor.finish()?;
    anyhow::ensure!(
        generator.surplus() == 0 && generator.faults().is_clean(),
        "events came twice or not in order"
    );

    let each =
        |count: u64, idle: f64| (number(count) - idle * took.as_secs_f64()).max(0.0) / number(clients as u64);
    recorder.write(
        "one missed event each",
        "fanfare",
        &[
            ("commands sent", each(asked.sent, idle)),
            ("commands within scripts", each(asked.within, 0.0)),
            ("plain s", plain.as_secs_f64()),
            ("resumed s", resumed.as_secs_f64()),
        ],
    );
    // The names of the commands show where one could be saved.
    let by_name: Vec<(&str, f64)> =
        asked.names.iter().map(|(name, count)| (name.as_str(), each(*count, 0.0))).collect();
    recorder.write("by name, idle ones too", "fanfare", &by_name);
    Ok(())
}

/// All go, miss one event each, and the node is done with their going.
fn miss_one(generator: &mut LoadGenerator) -> anyhow::Result<()> {
    generator.close();
    generator.publish_round(100, Content::Filler)?;
    Ok(generator.rest(AWAY)?)
}

/// Commands a second that the node sends when nothing happens.
fn idle_rate(environment: &Environment, generator: &mut LoadGenerator, redis: &Redis) -> anyhow::Result<f64> {
    let time = environment.time(Duration::from_secs(5));
    let monitor = Monitor::start(redis.address)?;
    generator.rest(time)?;
    Ok(number(monitor.finish()?.sent) / time.as_secs_f64())
}
