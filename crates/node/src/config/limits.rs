//! What bounds the work of one node: `[limits]`.

use std::marker::PhantomData;

use bytesize::ByteSize;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
use serde::{Deserialize, Serialize};

use crate::rates::Kind;

/// `[limits]`: beyond them a request is refused, or the client is sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many streams this node holds; more are answered as overloaded. `FANFARE_LIMITS__CONNECTIONS`.
    pub connections: usize,
    /// How many streams a second this node opens; more are answered as overloaded. 0 is no limit.
    /// `FANFARE_LIMITS__CONNECTS_PER_SECOND`.
    pub connects_per_second: u32,
    /// How many bytes requests, their bodies, answers and the queues of streams may hold together; at least 24 times
    /// `batch_bytes`. `FANFARE_LIMITS__MEMORY`.
    pub memory: ByteSize,
    /// How many sockets may be open beside those of the streams. `FANFARE_LIMITS__SOCKETS`.
    pub sockets: usize,
    /// How many of them one address may have; of an IPv6 address the first 64 bits count.
    /// `FANFARE_LIMITS__SOCKETS_PER_ADDRESS`.
    pub sockets_per_address: usize,
    /// What happens to a socket beyond either. `FANFARE_LIMITS__WHEN_FULL`.
    pub when_full: WhenFull,
    /// How many frames a second that carry no data an HTTP/2 client may send, beside those that acknowledge what it
    /// received. `FANFARE_LIMITS__CONTROL_FRAMES`.
    pub control_frames: u32,
    /// How many requests, streams among them, may be open on one HTTP/2 connection.
    /// `FANFARE_LIMITS__REQUESTS_PER_CONNECTION`.
    pub requests_per_connection: u32,
    /// How many sessions a user may have in the whole cluster; at most 1000, since Redis looks through them.
    /// `FANFARE_LIMITS__SESSIONS_PER_USER`.
    pub sessions_per_user: usize,
    /// How many history calls may be under way on this node, until their answers are written; more are answered with 503.
    /// `FANFARE_LIMITS__HISTORY_READS`.
    pub history_reads: usize,
    /// How many of them one user may have; more are answered with 429. `FANFARE_LIMITS__HISTORY_READS_PER_USER`.
    pub history_reads_per_user: usize,
    /// How many channels a stream may follow, its user's own and `broadcast` included; at most 256.
    /// `FANFARE_LIMITS__CHANNELS_PER_STREAM`.
    pub channels_per_stream: usize,
    /// The most data an event may have; at most 1 MiB. `FANFARE_LIMITS__EVENT_DATA`.
    pub event_data: ByteSize,
    /// How many events one request may publish. `FANFARE_LIMITS__BATCH_EVENTS`.
    pub batch_events: usize,
    /// How many bytes the body of such a request may have. `FANFARE_LIMITS__BATCH_BYTES`.
    pub batch_bytes: ByteSize,
    /// How many bytes the head of a request may have, with room for a stream's cursor; 16 to 64 KiB. Balancers must let
    /// as much through.
    /// `FANFARE_LIMITS__HEAD_BYTES`.
    pub head_bytes: ByteSize,
    /// How many users, and how many addresses, have a bucket of their own for each of the rates below; those beyond share
    /// some. `FANFARE_LIMITS__RATE_KEYS`.
    pub rate_keys: usize,
    /// What one user may ask of this node in a second.
    pub user: RatesConfig<PerUser>,
    /// What one address may ask of this node in a second: an IPv4 address or an IPv6 /64. Trusted proxies are exempt.
    pub address: RatesConfig<PerAddress>,
}

/// `[limits.user]` and `[limits.address]`: how many of each a second; 0 is no limit. As many may come at once. An address
/// stands for many users behind one network, so its defaults are higher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "S: RateScope")]
pub struct RatesConfig<S> {
    /// Streams asked for. `FANFARE_LIMITS__USER__CONNECTS_PER_SECOND`.
    pub connects_per_second: u32,
    /// Other requests that carry a token. `FANFARE_LIMITS__USER__REQUESTS_PER_SECOND`.
    pub requests_per_second: u32,
    /// Events published. `FANFARE_LIMITS__USER__EVENTS_PER_SECOND`.
    pub events_per_second: u32,
    /// Bytes of bodies that publish. `FANFARE_LIMITS__USER__BYTES_PER_SECOND`.
    pub bytes_per_second: ByteSize,
    /// Channels that did not exist and that a published event makes. `FANFARE_LIMITS__USER__CHANNELS_PER_SECOND`.
    pub channels_per_second: u32,
    #[serde(skip)]
    scope: PhantomData<S>,
}

/// Whose rates they are: the defaults differ.
pub trait RateScope {
    /// The default of a rate, if it is this for a user and that for an address.
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
    /// Returns how many of a kind a second are allowed, bytes as KiB; 0 is no limit.
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

/// A number of bytes in KiB, rounded up.
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

/// What happens to a socket when all slots are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The socket that has been idle longest is closed for it, of the address that has most.
    #[default]
    Evict,
    /// It is closed.
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
