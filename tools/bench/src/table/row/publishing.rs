//! How fast events come into the logs, against the bare script on the same Redis.

use std::time::{Duration, Instant};

use crate::endpoint::{Audience, Endpoint, Way};
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measure::Pace;
use crate::measurement::number;
use crate::sample::Content;
use crate::table::contender::Contender;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// The nodes' script: the reference is that script alone, on a Redis without other clients.
const SCRIPT: &str = concat!(
    include_str!("../../../../../crates/broker/src/redis/publish.lua"),
    "\nreturn publish(KEYS, ARGV)\n"
);
/// How many events are published each way.
const EVENTS: usize = 200_000;
/// Into how many channels they go.
const CHANNELS: usize = 1000;
/// How often the intake is looked at: each look costs Redis a little, and what is measured takes two or three
/// seconds.
const LOOK: Duration = Duration::from_millis(20);
/// How long the intake may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The script alone, the function alone, the intake's backlog, and a node's HTTP.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let events = if environment.quick { EVENTS / 4 } else { EVENTS };
    let redis = Redis::start(environment)?;
    let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut redis.connect()?)?;
    let rate = pour(&redis, &script(&sha), events)?;
    recorder.write("script alone", "redis", &[("events/s", rate)]);

    // The node loads the function; it receives none of the events, since no stream follows these channels.
    let running = Fanfare::default().start_on(environment, Audience::All, Some(redis))?;
    let Some(redis) = &running.redis else { anyhow::bail!("there is no Redis") };
    let function = ["FCALL", "fanfare_publish", "1", "fanfare:{room:{channel}}:log", "", "{data}"];
    recorder.write("FCALL", "fanfare", &[("events/s", pour(redis, &function.map(str::to_owned), events)?)]);
    drop(running.server);

    let Some(redis) = running.redis else { anyhow::bail!("there is no Redis") };
    let entry = ["XADD", "fanfare:ingest", "*", "channel", "room:{channel}", "data", "{data}"];
    pour(&redis, &entry.map(str::to_owned), events)?;
    let connection = redis.connect()?;
    let watch = std::thread::spawn(|| drained(connection));
    let running = Fanfare::default().start_on(environment, Audience::All, Some(redis))?;
    let rate =
        watch.join().map_err(|_| anyhow::anyhow!("the thread that watches the intake has panicked"))??;
    recorder.write("intake", "fanfare", &[("events/s", rate)]);
    drop(running);

    let found = environment.measure(
        Contender::FanfareHttp,
        environment.streams(1000),
        Audience::Each(1),
        Pace::InFlight(64),
    )?;
    recorder.write("HTTP, 64 in flight", "fanfare", &[("events/s", found.deliveries_per_second)]);
    Ok(())
}

/// Returns what a node's `EVALSHA` is, with the retention that nodes have by default.
fn script(sha: &str) -> Vec<String> {
    let channel = "fanfare:{room:{channel}}:";
    [
        "EVALSHA",
        sha,
        "3",
        &format!("{channel}log"),
        &format!("{channel}last"),
        &format!("{channel}live"),
        "",
        "{data}",
        "1000",
        "3600000",
        "604800000",
        "600000",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Sends so many commands as fast as Redis takes them; how many a second that were.
fn pour(redis: &Redis, command: &[String], events: usize) -> anyhow::Result<f64> {
    // A round is one event for each target.
    let rounds = events.div_ceil(CHANNELS);
    let command = command.iter().map(|word| word.replace("{channel}", "{target}")).collect();
    let endpoint = Endpoint::new(redis.address, "", Way::Redis { address: redis.address, command });
    let settings =
        GeneratorSettings { streams: CHANNELS, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    let mut generator = LoadGenerator::new(endpoint, settings)?;
    let began = Instant::now();
    generator.publish_rounds(rounds, 100, Content::Filler)?;
    Ok(number((rounds * CHANNELS) as u64) / began.elapsed().as_secs_f64())
}

/// Returns how many entries a second leave the intake, from the first that does to the last. A node begins before it
/// says that it is ready, so this is watched from before it is started.
fn drained(mut connection: redis::Connection) -> anyhow::Result<f64> {
    let mut left =
        || -> anyhow::Result<u64> { Ok(redis::cmd("XLEN").arg("fanfare:ingest").query(&mut connection)?) };
    let all = left()?;
    let (mut began, end) = (Instant::now(), Instant::now() + PATIENCE);
    loop {
        let now = left()?;
        if now == all {
            began = Instant::now();
        }
        if now == 0 {
            break;
        }
        anyhow::ensure!(Instant::now() < end, "{now} of {all} entries of the intake are left");
        std::thread::sleep(LOOK);
    }
    Ok(number(all) / began.elapsed().as_secs_f64())
}
