//! What a stream takes that is open and silent.

use std::time::Duration;

use crate::bench::crowd::{Crowd, Members};
use crate::bench::measurement::number;
use crate::bench::process::Watched;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::Contender;
use crate::table::lab::Lab;

/// How many streams are opened.
const STREAMS: usize = 10_000;

/// User-space memory of each stream, its user's session included.
pub(super) fn measure(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([
        Contender::Floor,
        Contender::Fanfare,
        Contender::Nchan,
        Contender::NchanRedis,
        Contender::Pushpin,
    ]) {
        let streams = contender.streams(lab.streams(STREAMS));
        let running = contender.start(lab, Audience::Each(1))?;
        let watched = running.watched();
        let before: Vec<_> = watched.iter().map(Watched::memory).collect();
        let members = Members { streams, audience: Audience::Each(1), sampled: 0, publishers: 1 };
        let mut crowd = Crowd::new(running.site.clone(), members)?;
        crowd.open(64)?;
        crowd.rest(lab.time(Duration::from_secs(5)))?;
        let mut figures = Vec::new();
        for (watched, before) in watched.iter().zip(before) {
            let after = watched.memory();
            let each =
                |after: u64, before: u64| number(after.saturating_sub(before)) / number(streams as u64);
            let (anonymous, resident) = match watched.label.as_str() {
                "server" => ("bytes", "resident bytes"),
                _ => ("redis bytes", "redis resident bytes"),
            };
            figures.push((anonymous, each(after.anonymous, before.anonymous)));
            figures.push((resident, each(after.resident, before.resident)));
        }
        figures.push(("streams", number(streams as u64)));
        page.write("idle", contender.name(), &figures);
    }
    Ok(())
}
