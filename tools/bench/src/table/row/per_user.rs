//! Every event is for one stream.

use std::time::Duration;

use crate::endpoint::Audience;
use crate::measure::Pace;
use crate::table::contender::Contender;
use crate::table::environment::Environment;
use crate::table::results::Recorder;
use crate::table::row::stalls::Stalls;

/// How many users are there.
const USERS: usize = 5000;
/// What keeps every part busy all the time.
const FULL: Pace = Pace::InFlight(64);

/// Through Redis: Fanfare by `FCALL`. nchan has no way in but HTTP; its event goes through Redis from there. The baseline
/// has neither; its broadcast is what the target is a multiple of.
pub(super) fn through_redis(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let users = environment.streams(USERS);
    for (events, setting) in [(1, "1 in flight"), (64, "64 in flight")] {
        for contender in Contender::here([Contender::Baseline, Contender::Fanfare, Contender::NchanRedis]) {
            let found = environment.measure(contender, users, Audience::Each(1), Pace::InFlight(events))?;
            recorder.measured(setting, contender.name(), found);
        }
    }
    let found = environment.measure(Contender::Baseline, users, Audience::All, Pace::InFlight(1))?;
    recorder.measured("broadcast", Contender::Baseline.name(), found);
    Ok(())
}

/// Published over HTTP.
pub(super) fn over_http(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([
        Contender::Baseline,
        Contender::FanfareHttp,
        Contender::NchanRedis,
        Contender::FanfareAlone,
        Contender::Nchan,
        Contender::Pushpin,
    ]) {
        let found = environment.measure(
            contender,
            environment.streams(USERS),
            Audience::Each(1),
            Pace::InFlight(1),
        )?;
        recorder.measured("1 in flight", contender.name(), found);
    }
    Ok(())
}

/// First what a server can do, then how long events take at half of that.
pub(super) fn delay(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let stalls = Stalls::look(environment.time(Duration::from_secs(6)))?;
    let late = [("p50 ms", 0.5), ("p99 ms", 0.01), ("p99.9 ms", 0.001)]
        .map(|(figure, rest)| (figure, stalls.late(rest).as_secs_f64() * 1e3));
    recorder.write("both cores at work", "no server", &late);
    for contender in Contender::here([Contender::Baseline, Contender::Fanfare, Contender::NchanRedis]) {
        let full = environment.measure(contender, environment.streams(USERS), Audience::Each(1), FULL)?;
        let half = Pace::Rate(full.deliveries_per_second / 2.0);
        recorder.measured("full load", contender.name(), full);
        let found = environment.measure(contender, environment.streams(USERS), Audience::Each(1), half)?;
        recorder.measured("half load", contender.name(), found);
    }
    Ok(())
}
