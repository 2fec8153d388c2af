//! The servers that are compared, each as its documentation says.
//!
//! # Layout
//!
//! - `fanfare`, `nchan`, `pushpin`: how each is started and spoken to; the baseline is here
//! - `redis`: what those stand on that use it

pub(super) mod fanfare;
mod nchan;
pub(super) mod origin;
mod pushpin;
pub(super) mod redis;

use std::process::Command;

use nix::sys::signal::Signal;

use self::fanfare::Fanfare;
use self::redis::Redis;
use super::core::Core;
use super::environment::Environment;
use super::program::{Program, free_address, listens};
use crate::endpoint::{Audience, Endpoint, Way};
use crate::measure::Pace;
use crate::measurement::Measurement;
use crate::process::Watched;

/// One kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// Nothing but writes.
    Baseline,
    /// A node, with Redis.
    Fanfare,
    /// A node with Redis, published to over HTTP.
    FanfareHttp,
    /// A node that keeps everything in its memory, published to over HTTP.
    FanfareAlone,
    /// nginx with nchan, in its memory.
    Nchan,
    /// nginx with nchan, with Redis.
    NchanRedis,
    /// Pushpin before an origin that only names channels.
    Pushpin,
}

/// A server that runs, with all that it needs.
pub(super) struct Running {
    pub(super) endpoint: Endpoint,
    pub(super) server: Program,
    /// None for those that do without.
    pub(super) redis: Option<Redis>,
}

impl Running {
    /// Returns what is watched: the server and Redis.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let redis = self.redis.as_ref().map(|redis| Watched::new("redis", redis.pid()));
        [Watched::new("server", self.server.pid())].into_iter().chain(redis).collect()
    }
}

impl Contender {
    /// Returns its name in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Fanfare => "fanfare",
            Self::FanfareHttp => "fanfare-http",
            Self::FanfareAlone => "fanfare-alone",
            Self::Nchan => "nchan",
            Self::NchanRedis => "nchan-redis",
            Self::Pushpin => "pushpin",
        }
    }

    /// Returns whether its programs are on this machine.
    fn is_here(self) -> bool {
        match self {
            Self::Baseline | Self::Fanfare | Self::FanfareHttp | Self::FanfareAlone => true,
            Self::Nchan | Self::NchanRedis => nchan::module().is_some(),
            Self::Pushpin => pushpin::is_here(),
        }
    }

    /// Those of them whose programs are.
    pub(super) fn here<const N: usize>(all: [Self; N]) -> impl Iterator<Item = Self> {
        all.into_iter().filter(|contender| contender.is_here())
    }

    /// Returns how many of so many streams it is given: Pushpin takes 3,000 in reasonable time.
    pub(super) fn streams(self, streams: usize) -> usize {
        if self == Self::Pushpin { streams.min(3000) } else { streams }
    }

    /// Starts it.
    pub(super) fn start(self, environment: &Environment, audience: Audience) -> anyhow::Result<Running> {
        match self {
            Self::Baseline => baseline(environment, audience),
            Self::Fanfare => Fanfare::default().start(environment, audience),
            Self::FanfareHttp => {
                Fanfare { over_http: true, ..Fanfare::default() }.start(environment, audience)
            }
            Self::FanfareAlone => {
                Fanfare { over_http: true, alone: true, ..Fanfare::default() }.start(environment, audience)
            }
            Self::Nchan => nchan::start(environment, audience, false),
            Self::NchanRedis => nchan::start(environment, audience, true),
            Self::Pushpin => pushpin::start(environment, audience),
        }
    }
}

impl Environment {
    /// Starts a server, opens streams, and measures once.
    pub(super) fn measure(
        &self,
        contender: Contender,
        streams: usize,
        audience: Audience,
        pace: Pace,
    ) -> anyhow::Result<Measurement> {
        let running = contender.start(self, audience)?;
        self.measure_running(&running, contender.streams(streams), audience, pace)
    }

    /// The same with a server that runs.
    pub(super) fn measure_running(
        &self,
        running: &Running,
        streams: usize,
        audience: Audience,
        pace: Pace,
    ) -> anyhow::Result<Measurement> {
        let mut generator = self.generator(&running.endpoint, streams, audience, publishers(pace))?;
        Ok(generator.measure(&self.load(pace), &running.watched())?)
    }
}

/// How many publishing connections: one more than events are out, so that an answer that comes late holds up nothing.
fn publishers(pace: Pace) -> usize {
    match pace {
        Pace::InFlight(events) => usize::try_from(events).unwrap_or(64) + 1,
        Pace::Rate(_) => 64,
    }
}

fn baseline(environment: &Environment, audience: Audience) -> anyhow::Result<Running> {
    let address = free_address()?;
    let mut command = Command::new(&environment.load);
    command.args(["baseline", "--listen", &address.to_string()]);
    let server =
        Program::start(command, Core::Server, Signal::SIGKILL, &environment.dir, || listens(address))?;
    let (stream, path) = match audience {
        Audience::All => ("/", "/"),
        Audience::Each(_) => ("/?user={user}", "/?user={target}"),
    };
    let way = Way::Http { address, path: path.into(), headers: Vec::new(), body: "{data}".into() };
    Ok(Running { endpoint: Endpoint::new(address, stream, way), server, redis: None })
}
