//! Who follows what in a run, and by which way each channel's events come in.

use std::fmt;
use std::str::FromStr;

/// A way of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `FCALL fanfare_publish`.
    Call,
    /// `XADD fanfare:ingest`.
    Add,
    /// `POST /v1/publish`.
    Http,
}

/// How the channels are shared out among the ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(Way, u32)>);

/// Text that is no mix.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not like fcall:2,xadd:1,http:1")]
pub struct MixError(String);

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let part = |part: &str| {
            let (way, weight) = part.split_once(':').unwrap_or((part, "1"));
            let way = match way {
                "fcall" => Way::Call,
                "xadd" => Way::Add,
                "http" => Way::Http,
                _ => return None,
            };
            Some((way, weight.parse().ok().filter(|weight| (1..=1000).contains(weight))?))
        };
        let parts: Option<Vec<_>> = text.split(',').map(part).collect();
        parts.map(Self).ok_or_else(|| MixError(text.to_owned()))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (way, weight)) in self.0.iter().enumerate() {
            let way = match way {
                Way::Call => "fcall",
                Way::Add => "xadd",
                Way::Http => "http",
            };
            write!(f, "{}{way}:{weight}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Mix {
    /// Returns whether any channel needs Redis.
    pub fn needs_redis(&self) -> bool {
        self.0.iter().any(|(way, _)| *way != Way::Http)
    }

    fn way(&self, number: usize) -> Way {
        let all: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut at = u32::try_from(number % all as usize).unwrap_or_default();
        for (way, weight) in &self.0 {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *way,
            }
        }
        Way::Http
    }
}

/// One channel of a run.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// By which way all its events come in: two ways at once would have no order.
    pub way: Way,
}

/// One client of a run.
#[derive(Clone, Debug)]
pub struct PlannedClient {
    /// Its path, the same for the whole run.
    pub path: String,
    /// What it follows, by the number of the channel.
    pub channels: Vec<usize>,
}

/// The channels and clients of a run. The names of the channels are unique.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the names of this run's users and channels have in common.
    pub run: String,
    /// The shared ones first, then one for each client.
    pub channels: Vec<Channel>,
    /// How many channels are shared.
    pub shared: usize,
    /// Every other one follows a shared channel too.
    pub clients: Vec<PlannedClient>,
}

impl Plan {
    /// Creates a plan for so many clients and shared channels.
    pub fn new(clients: usize, shared: usize, mix: &Mix) -> Self {
        let run: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        let run = format!("soak-{}", run.to_ascii_lowercase());
        let names =
            (0..shared).map(|n| format!("{run}:{n}")).chain((0..clients).map(|n| format!("user:{run}-{n}")));
        // Counted apart, so that shared and private channels are both mixed.
        let way = |n: usize| mix.way(if n < shared { n } else { n - shared });
        let channels = names.enumerate().map(|(n, name)| Channel { name, way: way(n) }).collect();
        let clients = (0..clients).map(|n| {
            let own = shared + n;
            let mut path = path(&format!("{run}-{n}"));
            let mut channels = vec![own];
            if shared > 0 && n % 2 == 1 {
                channels.push(n / 2 % shared);
                path = format!("{path}&channel={run}:{}", n / 2 % shared);
            }
            PlannedClient { path, channels }
        });
        Self { clients: clients.collect(), channels, shared, run }
    }

    /// Returns a client beside those that are counted, which follows a shared channel. Its user's name does not begin
    /// as theirs do, so that its lifecycle events do not count either.
    pub fn extra(&self, number: usize) -> String {
        format!(
            "{}&channel={}:{}",
            path(&format!("beside-{}-{number}", self.run)),
            self.run,
            number % self.shared.max(1)
        )
    }

    /// Returns how many clients follow each channel.
    pub fn followers(&self) -> Vec<u64> {
        let mut followers = vec![0; self.channels.len()];
        for channel in self.clients.iter().flat_map(|client| &client.channels) {
            followers[*channel] += 1;
        }
        followers
    }
}

/// The session is the client's own, so that it moves between nodes.
fn path(user: &str) -> String {
    format!("/v1/events?user={user}&session={}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_clients_share_channels_and_every_way_is_used() {
        let mix: Mix = "fcall:2,xadd,http".parse().unwrap();
        assert_eq!(mix.to_string(), "fcall:2,xadd:1,http:1");
        let plan = Plan::new(100, 10, &mix);
        assert_eq!(plan.channels.len(), 110);
        let followers = plan.followers();
        assert!(followers[..10].iter().all(|n| *n == 5) && followers[10..].iter().all(|n| *n == 1));
        for channels in [&plan.channels[..10], &plan.channels[10..]] {
            for way in [Way::Call, Way::Add, Way::Http] {
                assert!(channels.iter().any(|channel| channel.way == way), "{way:?}");
            }
        }
        assert!(plan.clients[1].path.contains(&plan.channels[plan.clients[1].channels[1]].name));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for wrong in ["", "fcall:0", "smoke:1", "http:x"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
