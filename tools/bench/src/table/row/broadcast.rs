//! Every stream gets every event.

use crate::endpoint::Audience;
use crate::measure::Pace;
use crate::table::contender::Contender;
use crate::table::contender::fanfare::Fanfare;
use crate::table::core::Core;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// 1,000, 5,000 and 15,000 streams.
pub(super) fn one_in_flight(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    for (streams, setting) in [(1000, "1,000"), (5000, "5,000"), (15_000, "15,000")] {
        for contender in
            Contender::here([Contender::Baseline, Contender::Fanfare, Contender::Nchan, Contender::Pushpin])
        {
            // Pushpin is given 3,000 at most: once is enough.
            if contender != Contender::Pushpin || streams == 5000 {
                let found = environment.measure(
                    contender,
                    environment.streams(streams),
                    Audience::All,
                    Pace::InFlight(1),
                )?;
                recorder.measured(setting, contender.name(), found);
            }
        }
    }
    Ok(())
}

/// 5,000 streams and 8 events in flight.
pub(super) fn several_in_flight(
    environment: &Environment,
    recorder: &mut Recorder<'_>,
) -> anyhow::Result<()> {
    for contender in Contender::here([Contender::Baseline, Contender::Fanfare, Contender::Nchan]) {
        let found =
            environment.measure(contender, environment.streams(5000), Audience::All, Pace::InFlight(8))?;
        recorder.measured("8 in flight", contender.name(), found);
    }
    Ok(())
}

/// The same on the server's core alone, and on both cores, of which the load shares one.
pub(super) fn by_cores(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    for (core, setting) in [(Core::Server, "1 core"), (Core::Both, "2 cores")] {
        let running = Fanfare { core, ..Fanfare::default() }.start(environment, Audience::All)?;
        let found = environment.measure_running(
            &running,
            environment.streams(5000),
            Audience::All,
            Pace::InFlight(8),
        )?;
        recorder.measured(setting, Contender::Fanfare.name(), found);
    }
    Ok(())
}
