//! A channel full of events that clients can catch up with.

use crate::endpoint::{Audience, Endpoint, Way};
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::sample::Content;
use crate::table::contender::Running;

/// Publishes so many events of a size to a channel, through Redis. They are there when this returns.
pub(super) fn fill(running: &Running, channel: &str, events: usize, size: usize) -> anyhow::Result<()> {
    let mut endpoint = running.endpoint.clone();
    if let Some(Way::Redis { command, .. }) = &mut endpoint.way {
        command[3] = format!("fanfare:{{{channel}}}:log");
    }
    let settings =
        GeneratorSettings { streams: events, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    // No stream of this generator is ever opened: it only publishes, once for each of its targets.
    let mut generator = LoadGenerator::new(Endpoint { ready: String::new(), ..endpoint }, settings)?;
    Ok(generator.publish_round(size, Content::Filler)?)
}
