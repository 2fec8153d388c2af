//! What a stream takes that is open and silent.

use std::time::Duration;

use crate::endpoint::{Audience, Endpoint};
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measurement::number;
use crate::process::Watched;
use crate::table::contender::{Contender, Running};
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How many streams are opened.
const STREAMS: usize = 10_000;

/// A long poll with a session of its own, which waits longer than the measurement takes.
const LONG_POLL: &str = "/v1/events?user={user}&session={session}&wait=55";

/// User-space memory of each stream, its user's session included; of long polls as well.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([
        Contender::Baseline,
        Contender::Fanfare,
        Contender::Nchan,
        Contender::NchanRedis,
        Contender::Pushpin,
    ]) {
        let streams = contender.streams(environment.streams(STREAMS));
        let mut write = |setting, change: fn(&mut Endpoint)| -> anyhow::Result<()> {
            let mut running = contender.start(environment, Audience::Each(1))?;
            change(&mut running.endpoint);
            recorder.write(setting, contender.name(), &rest(environment, &running, streams)?);
            Ok(())
        };
        write("idle", |_| {})?;
        if contender == Contender::Fanfare {
            write("long polls", |endpoint| LONG_POLL.clone_into(&mut endpoint.stream))?;
        }
    }
    Ok(())
}

/// Opens streams, and returns what each one takes while nothing happens.
fn rest(
    environment: &Environment,
    running: &Running,
    streams: usize,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let watched = running.watched();
    let before: Vec<_> = watched.iter().map(Watched::memory).collect();
    let settings = GeneratorSettings { streams, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    let mut generator = LoadGenerator::new(running.endpoint.clone(), settings)?;
    generator.open(64)?;
    generator.rest(environment.time(Duration::from_secs(5)))?;
    let mut figures = Vec::new();
    for (watched, before) in watched.iter().zip(before) {
        let after = watched.memory();
        let each = |after: u64, before: u64| number(after.saturating_sub(before)) / number(streams as u64);
        let (anonymous, resident) = match watched.label.as_str() {
            "server" => ("bytes", "resident bytes"),
            _ => ("redis bytes", "redis resident bytes"),
        };
        figures.push((anonymous, each(after.anonymous, before.anonymous)));
        figures.push((resident, each(after.resident, before.resident)));
    }
    figures.push(("streams", number(streams as u64)));
    Ok(figures)
}
