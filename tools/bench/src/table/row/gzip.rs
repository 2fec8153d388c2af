//! Compressed and plain events.

use std::time::Duration;

use crate::endpoint::Audience;
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measure::{Load, Pace};
use crate::sample::Content;
use crate::table::contender::Contender;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How many streams; each of them reads every event, for it must be inflated to be counted.
const STREAMS: usize = 1000;
/// Events a second: the same for both, and not so many that the load is late.
const RATE: f64 = 30.0;
/// Bytes of JSON in an event.
const SIZE: usize = 1024;

/// The same events to clients that accept gzip and to clients that do not.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    for (contender, setting, header) in [
        (Contender::Baseline, "plain", None),
        (Contender::Fanfare, "plain", None),
        (Contender::Fanfare, "gzip", Some("Accept-Encoding: gzip")),
    ] {
        let running = contender.start(environment, Audience::All)?;
        let mut endpoint = running.endpoint.clone();
        endpoint.headers.extend(header.map(str::to_owned));
        if header.is_some() {
            // What is compressed does not show that the stream is open; its head does.
            endpoint.ready = String::new();
        }
        let streams = environment.streams(STREAMS);
        let settings =
            GeneratorSettings { streams, audience: Audience::All, sampled: streams, publishers: 64 };
        let mut generator = LoadGenerator::new(endpoint, settings)?;
        generator.open(64)?;
        generator.rest(environment.time(Duration::from_secs(2)))?;
        let load = Load { size: SIZE, content: Content::Json, ..environment.load(Pace::Rate(RATE)) };
        recorder.measured(setting, contender.name(), generator.measure(&load, &running.watched())?);
    }
    Ok(())
}
