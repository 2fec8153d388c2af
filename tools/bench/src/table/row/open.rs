//! What it costs to open a stream.

use std::time::Duration;

use crate::endpoint::Audience;
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measurement::{micros, number};
use crate::process::Watched;
use crate::table::contender::fanfare::{Fanfare, Tokens};
use crate::table::contender::{Contender, Running};
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How many streams are opened.
const STREAMS: usize = 5000;
/// The kinds of tokens, by the name of the setting.
const TOKENS: [(&str, Tokens); 3] = [
    ("token and claim", Tokens::HS256),
    ("RS256 token and claim", Tokens::RS256),
    ("ES256 token and claim", Tokens::ES256),
];
/// How many connect at a time.
const CONNECTING: usize = 32;

/// Processor time of the server from the first stream to the last, and a little longer: some of the work comes after.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let mut write = |setting, contender: Contender, running: &Running| -> anyhow::Result<()> {
        let figures = open(environment, running, contender.streams(environment.streams(STREAMS)))?;
        recorder.write(setting, contender.name(), &figures);
        Ok(())
    };
    for contender in Contender::here([
        Contender::Baseline,
        Contender::Fanfare,
        Contender::NchanRedis,
        Contender::Nchan,
        Contender::Pushpin,
    ]) {
        if contender != Contender::Fanfare {
            write("plain", contender, &contender.start(environment, Audience::Each(1))?)?;
            continue;
        }
        for (setting, tokens) in TOKENS {
            let fanfare = Fanfare { tokens: Some(tokens), ..Fanfare::default() };
            write(setting, contender, &fanfare.start(environment, Audience::Each(1))?)?;
        }
    }
    Ok(())
}

fn open(
    environment: &Environment,
    running: &Running,
    streams: usize,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let watched = running.watched();
    let settings = GeneratorSettings { streams, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    let mut generator = LoadGenerator::new(running.endpoint.clone(), settings)?;
    let before: Vec<Duration> = watched.iter().map(Watched::cpu).collect();
    let took = generator.open(CONNECTING)?;
    generator.rest(environment.time(Duration::from_secs(1)))?;
    let count = number(streams as u64);
    let cost = watched.iter().zip(before).map(|(watched, before)| {
        let name = if watched.label == "server" { "cpu us" } else { "redis us" };
        (name, micros(watched.cpu().saturating_sub(before)) / count)
    });
    Ok(cost.chain([("opened/s", count / took.as_secs_f64())]).collect())
}
