//! A channel full of events that clients can catch up with.

use crate::bench::crowd::{Crowd, Members};
use crate::bench::sample::Content;
use crate::bench::site::{Audience, Site, Way};
use crate::table::contender::Running;

/// Publishes so many events of a size to a channel, through Redis. They are there when this returns.
pub(super) fn fill(running: &Running, channel: &str, events: usize, size: usize) -> anyhow::Result<()> {
    let mut site = running.site.clone();
    if let Some(Way::Redis { command, .. }) = &mut site.way {
        command[3] = format!("fanfare:{{{channel}}}:log");
    }
    let members = Members { streams: events, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    // No stream of this crowd is ever opened: it only publishes, once for each of its targets.
    let mut crowd = Crowd::new(Site { ready: String::new(), ..site }, members)?;
    Ok(crowd.publish_round(size, Content::Filler)?)
}
