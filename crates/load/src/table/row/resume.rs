//! Ten thousand clients come back in one moment, each with a cursor and an event that it missed.

use std::time::{Duration, Instant};

use super::monitor::Monitor;
use crate::bench::crowd::{Crowd, Members};
use crate::bench::measurement::number;
use crate::bench::sample::Content;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::lab::Lab;

/// How many clients.
const CLIENTS: usize = 10_000;
/// How many connect at a time: more would measure the listen queue.
const CONNECTING: usize = 1000;

/// Time for which they are disconnected: longer than `stream.unsubscribe_delay`, so that the node keeps nothing of
/// their channels, as on a different node.
const AWAY: Duration = Duration::from_secs(8);

/// Plain connects first, then the same clients again, twice: once timed, once listened to.
pub(super) fn measure(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    let clients = lab.streams(CLIENTS);
    let running = Fanfare::default().start(lab, Audience::Each(1))?;
    let Some(redis) = &running.redis else { anyhow::bail!("there is no Redis") };
    let members = Members { streams: clients, audience: Audience::Each(1), sampled: clients, publishers: 1 };
    let mut crowd = Crowd::new(running.site.clone(), members)?;
    let plain = crowd.open(CONNECTING)?;
    crowd.publish_round(100, Content::Filler)?;
    crowd.wait_for_all()?;

    miss_one(&mut crowd)?;
    let began = Instant::now();
    crowd.open(CONNECTING)?;
    crowd.wait_for_all()?;
    let resumed = began.elapsed();

    miss_one(&mut crowd)?;
    let idle = idle_rate(lab, &mut crowd, redis)?;
    let monitor = Monitor::start(redis.address)?;
    let began = Instant::now();
    crowd.open(CONNECTING)?;
    crowd.wait_for_all()?;
    let took = began.elapsed();
    let asked = monitor.finish()?;
    anyhow::ensure!(crowd.surplus() == 0 && crowd.faults().is_clean(), "events came twice or not in order");

    let each =
        |count: u64, idle: f64| (number(count) - idle * took.as_secs_f64()).max(0.0) / number(clients as u64);
    page.write(
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
    page.write("by name, idle ones too", "fanfare", &by_name);
    Ok(())
}

/// All go, miss one event each, and the node is done with their going.
fn miss_one(crowd: &mut Crowd) -> anyhow::Result<()> {
    crowd.close();
    crowd.publish_round(100, Content::Filler)?;
    Ok(crowd.rest(AWAY)?)
}

/// Commands a second that the node sends when nothing happens.
fn idle_rate(lab: &Lab, crowd: &mut Crowd, redis: &Redis) -> anyhow::Result<f64> {
    let time = lab.time(Duration::from_secs(5));
    let monitor = Monitor::start(redis.address)?;
    crowd.rest(time)?;
    Ok(number(monitor.finish()?.sent) / time.as_secs_f64())
}
