//! Limits of one node: `[limits]`.

use bytesize::ByteSize;

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;
use crate::value::choice;

/// Memory of the process without clients, including unused memory of the allocator, in bytes. The rest of
/// `limits.memory` is the budget of clients.
pub const MEMORY_BASE: usize = 32 * 1024 * 1024;
/// Minimum of `limits.memory` without the share that a body of `limits.batch_bytes` requires, in bytes.
const MEMORY_LEAST: u64 = MEMORY_BASE as u64 + 1024 * 1024;
/// Divisor of the budget of clients for the share of one connection.
pub const MEMORY_CONNECTIONS: usize = 8;
/// Maximum number of copies of a body that publishes: as received, parsed, and sent to Redis.
pub const BODY_COPIES: usize = 3;

settings! {
    /// `[limits]`: a request beyond a limit is refused, or its client is sent to another node.
    pub struct LimitsConfig = "limits", |config| config.limits => {
        /// Maximum number of streams on this node; further ones get an `overloaded` event.
        connections: usize = "50000", in "1" to "10000000";
        /// Maximum rate of new streams on this node; further ones get an `overloaded` event. `0` disables the limit.
        connects_per_second: u32 = "5000";
        /// Maximum resident memory of the process: 32 MiB for the process itself, the rest for sockets, requests, their
        /// bodies, answers and stream queues. Each stream takes 4 KiB in addition. At least 33 MiB plus 24 times
        /// `limits.batch_bytes`.
        memory: ByteSize = "256MiB", in "1MiB" to "1TiB";
        /// Maximum number of open sockets that serve no stream, if they fit into a quarter of `limits.memory`.
        sockets: usize = "4096", in "1" to "1000000";
        /// Maximum number of these for one address. An IPv6 address counts by its first 64 bits.
        sockets_per_address: usize = "1024", in "1" to "1000000";
        /// What happens to a socket beyond these limits. `evict`: it replaces the socket that has been idle longest, of
        /// the address that has most. `refuse`: it is closed.
        when_full: WhenFull = "evict";
        /// Maximum rate of HTTP/2 frames without data from a client, not counting acknowledgements of received data.
        control_frames: u32 = "100", in "1" to "1000000";
        /// Maximum number of concurrent requests, streams included, on one HTTP/2 connection; 1 to 10000.
        requests_per_connection: u32 = "128", in "1" to "10000";
        /// Maximum number of sessions of a user in the whole cluster; at most 1000, since Redis scans them.
        sessions_per_user: usize = "16", in "1" to "1000";
        /// Maximum number of tickets of a user in the whole cluster. A further one replaces the used one whose stream was opened
        /// longest ago, or is refused with `429` if none is used. Each takes up to 4 KiB of Redis.
        tickets_per_user: usize = "64", in "1" to "1000";
        /// Maximum number of concurrent history calls on this node; further ones get `503`.
        history_reads: usize = "16", in "1" to "10000";
        /// Maximum number of concurrent history calls of one user; further ones get `429`.
        history_reads_per_user: usize = "4", in "1" to "10000";
        /// Maximum number of channels of a stream, the user's own and `broadcast` included; at most 256.
        channels_per_stream: usize = "256", in "2" to "256";
        /// Maximum size of an event's data; at most 1 MiB. Lines of more than 60 KiB are too long for some clients.
        event_data: ByteSize = "60KiB", in "1B" to "1MiB";
        /// Maximum number of events in one publish request.
        batch_events: usize = "1000", in "1" to "100000";
        /// Maximum size of the body of a publish request; at most 256 MiB.
        batch_bytes: ByteSize = "8MiB", in "1KiB" to "256MiB";
        /// Maximum size of a request's head, with room for a stream's cursor; 16 to 64 KiB. Balancers must let as much
        /// through.
        head_bytes: ByteSize = "32KiB", in "16KiB" to "64KiB";
        /// Number of users, and of addresses, that have their own bucket for each of the rates below; further ones share
        /// buckets.
        rate_keys: usize = "100000", in "1000" to "10000000";
    }
    with {
        /// Rates of one user on this node.
        user: UserRates = UserRates::default();
        /// Rates of one address on this node.
        address: AddressRates = AddressRates::default();
    }
}

settings! {
    /// `[limits.user]`: maximum rates of one user. The burst is as large as the rate.
    pub struct UserRates = "limits.user", |config| config.limits.user => {
        /// Maximum rate of new streams of one user on this node; further ones get an `overloaded` event. `0` disables the
        /// limit.
        connects_per_second: u32 = "50";
        /// Maximum rate of other requests with a token of one user; further ones get `429`. `0` disables the limit.
        requests_per_second: u32 = "2000";
        /// Maximum rate of events that one user publishes over HTTP; further ones get `429`. `0` disables the limit.
        events_per_second: u32 = "20000";
        /// Maximum rate of request body bytes that one user publishes over HTTP; further ones get `429`. `0B` disables
        /// the limit.
        bytes_per_second: ByteSize = "32MiB";
        /// Maximum rate of channels that one user creates by publishing over HTTP; further ones get `429`. `0` disables
        /// the limit.
        channels_per_second: u32 = "1000";
        /// Maximum rate of new idempotency keys of one user over HTTP, which Redis remembers for
        /// `publish.idempotency_window`; further ones get `429`. `0` disables the limit.
        idempotency_keys_per_second: u32 = "1000";
    }
}

settings! {
    /// `[limits.address]`: maximum rates of one address: an IPv4 address or an IPv6 /64. The burst is as large as the
    /// rate. An address may stand for many users behind one network, so its defaults are higher.
    pub struct AddressRates = "limits.address", |config| config.limits.address => {
        /// Maximum rate of new streams from one address (IPv4, or an IPv6 /64; not a trusted proxy's) on this node;
        /// further ones get an `overloaded` event. `0` disables the limit.
        connects_per_second: u32 = "2000";
        /// Maximum rate of other requests with a token from one address (IPv4, or an IPv6 /64; not a trusted proxy's);
        /// further ones get `429`. `0` disables the limit.
        requests_per_second: u32 = "10000";
        /// Maximum rate of events published over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's);
        /// further ones get `429`. `0` disables the limit.
        events_per_second: u32 = "40000";
        /// Maximum rate of request body bytes published over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's);
        /// further ones get `429`. `0B` disables the limit.
        bytes_per_second: ByteSize = "64MiB";
        /// Maximum rate of channels created by publishing over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's);
        /// further ones get `429`. `0` disables the limit.
        channels_per_second: u32 = "2000";
        /// Maximum rate of new idempotency keys over HTTP from one address (IPv4, or an IPv6 /64; not a trusted proxy's);
        /// further ones get `429`. `0` disables the limit.
        idempotency_keys_per_second: u32 = "2000";
    }
}

choice! {
    /// Policy for a new socket when all slots are taken.
    pub enum WhenFull {
        /// Closes the socket that has been idle longest, of the address that has most.
        Evict = "evict",
        /// Closes the new socket.
        Refuse = "refuse",
    }
}

/// Checks that an event fits into a body, and a body into memory.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let limits = &config.limits;
    // One connection may always send one body, and the body is copied while it is published.
    let copies = (MEMORY_CONNECTIONS * BODY_COPIES) as u64;
    let least = MEMORY_LEAST.saturating_add(copies.saturating_mul(limits.batch_bytes.as_u64()));
    let (least, base) = (ByteSize::b(least), ByteSize::b(MEMORY_LEAST));
    checks.hold(
        limits.memory >= least,
        &["limits.memory", "limits.batch_bytes"],
        "a body of limits.batch_bytes does not fit into the part of limits.memory that one connection may hold",
        &format!("limits.memory at least {least}: {base} plus {copies} times limits.batch_bytes ({})", limits.batch_bytes),
    );
    checks.hold(
        limits.batch_bytes >= limits.event_data,
        &["limits.batch_bytes", "limits.event_data"],
        "an event of limits.event_data does not fit into limits.batch_bytes",
        "limits.batch_bytes larger than limits.event_data",
    );
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
    use fanfare_protocol::event::{DEFAULT_MAX_DATA_BYTES, MAX_DATA_BYTES};

    use super::*;

    #[test]
    fn what_the_declarations_say_of_events_and_cursors_is_what_the_protocol_says() {
        let of =
            |name: &str| LimitsConfig::SETTINGS.iter().find(|one| one.name == name).unwrap().range.unwrap();
        let limits = LimitsConfig::default();
        assert_eq!(limits.channels_per_stream, MAX_CURSOR_CHANNELS);
        assert_eq!(of("limits.channels_per_stream").1, MAX_CURSOR_CHANNELS.to_string());
        assert_eq!(limits.event_data, ByteSize::b(DEFAULT_MAX_DATA_BYTES as u64));
        assert_eq!(of("limits.event_data").1.parse(), Ok(ByteSize::b(MAX_DATA_BYTES as u64)));
    }
}
