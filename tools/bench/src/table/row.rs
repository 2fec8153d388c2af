//! The rows: what is measured, one file each.
//!
//! # Layout
//!
//! - [`broadcast`]: every stream gets every event, one or several in flight, one core or two
//! - [`per_user`]: every event is for one stream: cost and delay; `stalls` are the machine's own
//! - [`idle`], [`open`], [`resume`]: streams themselves
//! - [`gzip`]: compressed events
//! - [`channels`]: many channels, and a lost subscriber connection; `monitor` counts commands of Redis for [`resume`]
//! - [`behind`], [`catch_up`]: clients catch up with an `archive`
//! - [`publishing`]: events into the logs
//! - [`finite`]: finite streams

mod archive;
mod behind;
mod broadcast;
mod catch_up;
mod channels;
mod finite;
mod gzip;
mod idle;
mod monitor;
mod open;
mod per_user;
mod publishing;
mod resume;
mod stalls;

use clap::ValueEnum;

use super::environment::Environment;
use super::results::Recorder;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Every stream receives every event, one in flight; 1,000, 5,000 and 15,000 streams
    Broadcast,
    /// The same with 8 in flight, 5,000 streams
    Batching,
    /// Events for one user, through Redis, 1 and 64 in flight
    PerUser,
    /// Events for one user, over HTTP, one in flight
    PerUserHttp,
    /// Publish to receipt at half of full load, per user
    Latency,
    /// Memory of 10,000 idle streams with sessions
    Idle,
    /// Opening a stream, with a token (HS256, RS256, ES256) and a claim
    Open,
    /// 10,000 clients resume at once
    Resume,
    /// 1 KB of JSON, compressed and plain
    Gzip,
    /// 100,000 channels on one node, and a lost subscriber connection
    Channels,
    /// A client 100,000 events behind, beside 5,000 live streams
    Behind,
    /// Catch-up: bytes from Redis for each byte delivered; events of 0.1 to 64 KB, one client and 200 clients
    CatchUp,
    /// Publishing rate of each interface, compared with the bare script
    Publishing,
    /// Finite streams: appends, cancellation, and readers that wait
    Finite,
    /// One core and two
    Cores,
}

impl Row {
    /// Returns all of them, in order.
    pub fn every() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Returns its name on the command line and in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Batching => "batching",
            Self::PerUser => "per-user",
            Self::PerUserHttp => "per-user-http",
            Self::Latency => "latency",
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Resume => "resume",
            Self::Gzip => "gzip",
            Self::Channels => "channels",
            Self::Behind => "behind",
            Self::CatchUp => "catch-up",
            Self::Publishing => "publishing",
            Self::Finite => "finite",
            Self::Cores => "cores",
        }
    }

    /// Measures it once, every server right after the other.
    pub(super) fn measure(
        self,
        environment: &Environment,
        recorder: &mut Recorder<'_>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Broadcast => broadcast::one_in_flight(environment, recorder),
            Self::Batching => broadcast::several_in_flight(environment, recorder),
            Self::PerUser => per_user::through_redis(environment, recorder),
            Self::PerUserHttp => per_user::over_http(environment, recorder),
            Self::Latency => per_user::delay(environment, recorder),
            Self::Idle => idle::measure(environment, recorder),
            Self::Open => open::measure(environment, recorder),
            Self::Resume => resume::measure(environment, recorder),
            Self::Gzip => gzip::measure(environment, recorder),
            Self::Channels => channels::measure(environment, recorder),
            Self::Behind => behind::measure(environment, recorder),
            Self::CatchUp => catch_up::measure(environment, recorder),
            Self::Publishing => publishing::measure(environment, recorder),
            Self::Finite => finite::measure(environment, recorder),
            Self::Cores => broadcast::by_cores(environment, recorder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_asked_for_by_the_name_that_it_has_in_the_results() {
        for row in Row::every() {
            assert_eq!(Row::from_str(row.name(), false), Ok(row));
        }
    }
}
