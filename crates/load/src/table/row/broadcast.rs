//! Everybody gets every event.

use crate::bench::measure::Pace;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::Contender;
use crate::table::contender::fanfare::Fanfare;
use crate::table::core::Core;
use crate::table::lab::Lab;

/// 1,000, 5,000 and 15,000 streams.
pub(super) fn one_in_flight(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for (streams, setting) in [(1000, "1,000"), (5000, "5,000"), (15_000, "15,000")] {
        for contender in
            Contender::here([Contender::Floor, Contender::Fanfare, Contender::Nchan, Contender::Pushpin])
        {
            // Pushpin is given 3,000 at most: once is enough.
            if contender != Contender::Pushpin || streams == 5000 {
                let found = lab.measure(contender, lab.streams(streams), Audience::All, Pace::InFlight(1))?;
                page.measured(setting, contender.name(), found);
            }
        }
    }
    Ok(())
}

/// 5,000 streams and 8 events in flight.
pub(super) fn several_in_flight(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for contender in Contender::here([Contender::Floor, Contender::Fanfare, Contender::Nchan]) {
        let found = lab.measure(contender, lab.streams(5000), Audience::All, Pace::InFlight(8))?;
        page.measured("8 in flight", contender.name(), found);
    }
    Ok(())
}

/// The same on the server's core alone, and on both cores, of which the load shares one.
pub(super) fn by_cores(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for (core, setting) in [(Core::Server, "1 core"), (Core::Both, "2 cores")] {
        let running = Fanfare { core, ..Fanfare::default() }.start(lab, Audience::All)?;
        let found = lab.measure_running(&running, lab.streams(5000), Audience::All, Pace::InFlight(8))?;
        page.measured(setting, Contender::Fanfare.name(), found);
    }
    Ok(())
}
