//! What it costs to open a stream.

use std::time::Duration;

use crate::bench::crowd::{Crowd, Members};
use crate::bench::measurement::{micros, number};
use crate::bench::process::Watched;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::{Contender, Running};
use crate::table::lab::Lab;

/// How many streams are opened.
const STREAMS: usize = 5000;
/// How many connect at a time.
const CONNECTING: usize = 32;

/// Processor time of the server from the first stream to the last, and a little longer: some of the work comes after.
pub(super) fn measure(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([
        Contender::Floor,
        Contender::Fanfare,
        Contender::NchanRedis,
        Contender::Nchan,
        Contender::Pushpin,
    ]) {
        let running = match contender {
            Contender::Fanfare => {
                Fanfare { tokens: true, ..Fanfare::default() }.start(lab, Audience::Each(1))?
            }
            other => other.start(lab, Audience::Each(1))?,
        };
        let setting = if contender == Contender::Fanfare { "token and claim" } else { "plain" };
        let figures = open(lab, &running, contender.streams(lab.streams(STREAMS)))?;
        page.write(setting, contender.name(), &figures);
    }
    Ok(())
}

fn open(lab: &Lab, running: &Running, streams: usize) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let watched = running.watched();
    let members = Members { streams, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    let mut crowd = Crowd::new(running.site.clone(), members)?;
    let before: Vec<Duration> = watched.iter().map(Watched::cpu).collect();
    let took = crowd.open(CONNECTING)?;
    crowd.rest(lab.time(Duration::from_secs(1)))?;
    let count = number(streams as u64);
    let cost = watched.iter().zip(before).map(|(watched, before)| {
        let name = if watched.label == "server" { "cpu us" } else { "redis us" };
        (name, micros(watched.cpu().saturating_sub(before)) / count)
    });
    Ok(cost.chain([("opened/s", count / took.as_secs_f64())]).collect())
}
