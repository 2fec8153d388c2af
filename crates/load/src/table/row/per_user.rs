//! Every event is for one stream.

use std::time::Duration;

use crate::bench::measure::Pace;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::Contender;
use crate::table::lab::Lab;
use crate::table::row::stalls::Stalls;

/// How many users are there.
const USERS: usize = 5000;
/// What keeps every part busy all the time.
const FULL: Pace = Pace::InFlight(64);

/// Through Redis: Fanfare by `FCALL`. nchan has no way in but HTTP; its event goes through Redis from there. The floor
/// has neither; its broadcast is what the bar is a multiple of.
pub(super) fn through_redis(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    let users = lab.streams(USERS);
    for (events, setting) in [(1, "1 in flight"), (64, "64 in flight")] {
        for contender in Contender::here([Contender::Floor, Contender::Fanfare, Contender::NchanRedis]) {
            let found = lab.measure(contender, users, Audience::Each(1), Pace::InFlight(events))?;
            page.measured(setting, contender.name(), found);
        }
    }
    let found = lab.measure(Contender::Floor, users, Audience::All, Pace::InFlight(1))?;
    page.measured("broadcast", Contender::Floor.name(), found);
    Ok(())
}

/// Published over HTTP.
pub(super) fn over_http(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([
        Contender::Floor,
        Contender::FanfareHttp,
        Contender::NchanRedis,
        Contender::FanfareAlone,
        Contender::Nchan,
        Contender::Pushpin,
    ]) {
        let found = lab.measure(contender, lab.streams(USERS), Audience::Each(1), Pace::InFlight(1))?;
        page.measured("1 in flight", contender.name(), found);
    }
    Ok(())
}

/// First what a server can do, then how long events take at half of that.
pub(super) fn delay(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    let stalls = Stalls::look(lab.time(Duration::from_secs(6)))?;
    let late = [("p50 ms", 0.5), ("p99 ms", 0.01), ("p99.9 ms", 0.001)]
        .map(|(figure, rest)| (figure, stalls.late(rest).as_secs_f64() * 1e3));
    page.write("both cores at work", "nobody", &late);
    for contender in Contender::here([Contender::Floor, Contender::Fanfare, Contender::NchanRedis]) {
        let full = lab.measure(contender, lab.streams(USERS), Audience::Each(1), FULL)?;
        let half = Pace::Rate(full.deliveries_per_second / 2.0);
        page.measured("full load", contender.name(), full);
        let found = lab.measure(contender, lab.streams(USERS), Audience::Each(1), half)?;
        page.measured("half load", contender.name(), found);
    }
    Ok(())
}
