//! Compressed and plain events.

use std::time::Duration;

use crate::bench::crowd::{Crowd, Members};
use crate::bench::measure::{Load, Pace};
use crate::bench::sample::Content;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::Contender;
use crate::table::lab::Lab;

/// How many streams; each of them reads every event, for it must be inflated to be counted.
const STREAMS: usize = 1000;
/// Events a second: the same for both, and not so many that the load is late.
const RATE: f64 = 30.0;
/// Bytes of JSON in an event.
const SIZE: usize = 1024;

/// The same events to clients that accept gzip and to clients that do not.
pub(super) fn measure(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    for (contender, setting, header) in [
        (Contender::Floor, "plain", None),
        (Contender::Fanfare, "plain", None),
        (Contender::Fanfare, "gzip", Some("Accept-Encoding: gzip")),
    ] {
        let running = contender.start(lab, Audience::All)?;
        let mut site = running.site.clone();
        site.headers.extend(header.map(str::to_owned));
        if header.is_some() {
            // What is compressed does not show that the stream is open; its head does.
            site.ready = String::new();
        }
        let streams = lab.streams(STREAMS);
        let members = Members { streams, audience: Audience::All, sampled: streams, publishers: 64 };
        let mut crowd = Crowd::new(site, members)?;
        crowd.open(64)?;
        crowd.rest(lab.time(Duration::from_secs(2)))?;
        let load = Load { size: SIZE, content: Content::Json, ..lab.load(Pace::Rate(RATE)) };
        page.measured(setting, contender.name(), crowd.measure(&load, &running.watched())?);
    }
    Ok(())
}
