//! Limits of one node: `[limits]`.

use std::marker::PhantomData;

use bytesize::ByteSize;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
use serde::{Deserialize, Serialize};

/// `[limits]`: a request beyond a limit is refused, or its client is sent to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Maximum number of streams on this node; further ones get an `overloaded` event. Default: `50000`.
    /// `FANFARE_LIMITS__CONNECTIONS`.
    pub connections: usize,
    /// Maximum rate of new streams on this node; further ones get an `overloaded` event. `0` disables the limit.
    /// Default: `5000`. `FANFARE_LIMITS__CONNECTS_PER_SECOND`.
    pub connects_per_second: u32,
    /// Maximum resident memory of the process: 32 MiB for the process itself, the rest for sockets, requests, their bodies,
    /// answers and stream queues. Each stream takes 4 KiB in addition. At least 33 MiB plus 24 times `limits.batch_bytes`.
    /// Default: `256MiB`. `FANFARE_LIMITS__MEMORY`.
    pub memory: ByteSize,
    /// Maximum number of open sockets that serve no stream, if they fit into a quarter of `limits.memory`. Default: `4096`.
    /// `FANFARE_LIMITS__SOCKETS`.
    pub sockets: usize,
    /// Maximum number of these for one address. An IPv6 address counts by its first 64 bits. Default: `1024`.
    /// `FANFARE_LIMITS__SOCKETS_PER_ADDRESS`.
    pub sockets_per_address: usize,
    /// What happens to a socket beyond these limits. `evict`: it replaces the socket that has been idle longest, of
    /// the address that has most. `refuse`: it is closed. Default: `evict`. `FANFARE_LIMITS__WHEN_FULL`.
    pub when_full: WhenFull,
    /// Maximum rate of HTTP/2 frames without data from a client, not counting acknowledgements of received data.
    /// Default: `100`. `FANFARE_LIMITS__CONTROL_FRAMES`.
    pub control_frames: u32,
    /// Maximum number of concurrent requests, streams included, on one HTTP/2 connection; 1 to 10000. Default: `128`.
    /// `FANFARE_LIMITS__REQUESTS_PER_CONNECTION`.
    pub requests_per_connection: u32,
    /// Maximum number of sessions of a user in the whole cluster; at most 1000, since Redis scans them. Default:
    /// `16`. `FANFARE_LIMITS__SESSIONS_PER_USER`.
    pub sessions_per_user: usize,
    /// Maximum number of concurrent history calls on this node; further ones get `503`. Default: `16`.
    /// `FANFARE_LIMITS__HISTORY_READS`.
    pub history_reads: usize,
    /// Maximum number of concurrent history calls of one user; further ones get `429`. Default: `4`.
    /// `FANFARE_LIMITS__HISTORY_READS_PER_USER`.
    pub history_reads_per_user: usize,
    /// Maximum number of channels of a stream, the user's own and `broadcast` included; at most 256. Default: `256`.
    /// `FANFARE_LIMITS__CHANNELS_PER_STREAM`.
    pub channels_per_stream: usize,
    /// Maximum size of an event's data; at most 1 MiB. Lines of more than 60 KiB are too long for some clients.
    /// Default: `60KiB`. `FANFARE_LIMITS__EVENT_DATA`.
    pub event_data: ByteSize,
    /// Maximum number of events in one publish request. Default: `1000`. `FANFARE_LIMITS__BATCH_EVENTS`.
    pub batch_events: usize,
    /// Maximum size of the body of a publish request; at most 256 MiB. Default: `8MiB`.
    /// `FANFARE_LIMITS__BATCH_BYTES`.
    pub batch_bytes: ByteSize,
    /// Maximum size of a request's head, with room for a stream's cursor; 16 to 64 KiB. Balancers must let as much
    /// through. Default: `32KiB`. `FANFARE_LIMITS__HEAD_BYTES`.
    pub head_bytes: ByteSize,
    /// Number of users, and of addresses, that have their own bucket for each of the rates below; further ones share
    /// buckets. Default: `100000`. `FANFARE_LIMITS__RATE_KEYS`.
    pub rate_keys: usize,
    /// Rates of one user on this node.
    pub user: RatesConfig<PerUser>,
    /// Rates of one address on this node: an IPv4 address or an IPv6 /64. Trusted proxies are exempt.
    pub address: RatesConfig<PerAddress>,
}

/// `[limits.user]` and `[limits.address]`: maximum rates per second; 0 disables a limit. The burst is as large as the
/// rate. An address may stand for many users behind one network, so its defaults are higher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "S: RateScope")]
pub struct RatesConfig<S> {
    /// New streams. `FANFARE_LIMITS__USER__CONNECTS_PER_SECOND`.
    pub connects_per_second: u32,
    /// Other requests with a token. `FANFARE_LIMITS__USER__REQUESTS_PER_SECOND`.
    pub requests_per_second: u32,
    /// Events published over HTTP. `FANFARE_LIMITS__USER__EVENTS_PER_SECOND`.
    pub events_per_second: u32,
    /// Bytes of publish requests' bodies. `FANFARE_LIMITS__USER__BYTES_PER_SECOND`.
    pub bytes_per_second: ByteSize,
    /// Channels created by publishing over HTTP. `FANFARE_LIMITS__USER__CHANNELS_PER_SECOND`.
    pub channels_per_second: u32,
    #[serde(skip)]
    scope: PhantomData<S>,
}

/// What is counted. Each kind has a limit by user and one by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Streams asked for.
    Connects,
    /// Other requests that carry a token.
    Requests,
    /// Events published.
    Events,
    /// Bytes of bodies that publish, in KiB.
    Bytes,
    /// Channels that a published event made.
    Channels,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Connects, Self::Requests, Self::Events, Self::Bytes, Self::Channels];

    /// The word in metrics and in the setting's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connects => "connects",
            Self::Requests => "requests",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Channels => "channels",
        }
    }

    /// What is counted, for people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Connects => "streams",
            Self::Requests => "requests",
            Self::Events => "published events",
            Self::Bytes => "KiB of published events",
            Self::Channels => "new channels",
        }
    }
}

/// Scope of rates, which determines their defaults.
pub trait RateScope {
    /// Returns the default of a rate, from those for a user and for an address.
    fn default_of(user: u32, address: u32) -> u32;
}

/// `[limits.user]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerUser;

/// `[limits.address]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerAddress;

impl RateScope for PerUser {
    fn default_of(user: u32, _: u32) -> u32 {
        user
    }
}

impl RateScope for PerAddress {
    fn default_of(_: u32, address: u32) -> u32 {
        address
    }
}

impl<S> RatesConfig<S> {
    /// Returns the maximum rate of a kind per second, bytes in KiB; 0 is no limit.
    pub fn per_second(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Connects => self.connects_per_second,
            Kind::Requests => self.requests_per_second,
            Kind::Events => self.events_per_second,
            Kind::Bytes => kib(self.bytes_per_second.as_u64()),
            Kind::Channels => self.channels_per_second,
        }
    }
}

/// Converts bytes to KiB, rounded up.
pub fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

impl<S: RateScope> Default for RatesConfig<S> {
    fn default() -> Self {
        let of = S::default_of;
        Self {
            connects_per_second: of(50, 2000),
            requests_per_second: of(2000, 10_000),
            events_per_second: of(20_000, 40_000),
            bytes_per_second: ByteSize::mib(u64::from(of(32, 64))),
            channels_per_second: of(1000, 2000),
            scope: PhantomData,
        }
    }
}

/// Policy for a new socket when all slots are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// Closes the socket that has been idle longest, of the address that has most.
    #[default]
    Evict,
    /// Closes the new socket.
    Refuse,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connects_per_second: 5000,
            memory: ByteSize::mib(256),
            sockets: 4096,
            sockets_per_address: 1024,
            when_full: WhenFull::default(),
            control_frames: 100,
            requests_per_connection: 128,
            sessions_per_user: 16,
            history_reads: 16,
            history_reads_per_user: 4,
            channels_per_stream: MAX_CURSOR_CHANNELS,
            event_data: ByteSize::b(DEFAULT_MAX_DATA_BYTES as u64),
            batch_events: 1000,
            batch_bytes: ByteSize::mib(8),
            head_bytes: ByteSize::kib(32),
            rate_keys: 100_000,
            user: RatesConfig::default(),
            address: RatesConfig::default(),
        }
    }
}
