//! Rates: what one user, one address, and all clients together may ask of this node in a second.
//!
//! A user's rate is checked before the address's, and both before the node's: what a flood is refused by its own
//! limit takes nothing from anyone who shares the next one.
//!
//! # Layout
//!
//! - `limit`: one rate, with a bucket for each key
//! - `buckets`: the buckets, bounded in number
//! - [`metrics`]: counts refusals and buckets

mod buckets;
mod limit;
pub mod metrics;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use fanfare_auth::api_key::ApiKey;
use fanfare_config::limits::{AddressRates, LimitsConfig, UserRates};
use fanfare_protocol::User;

use self::limit::Limit;
use self::metrics::RateMetrics;
use crate::address::{AddressKey, ClientAddress};

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
    /// Idempotency keys that Redis remembers.
    IdempotencyKeys,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Connects, Self::Requests, Self::Events, Self::Bytes, Self::Channels, Self::IdempotencyKeys];

    /// The word in metrics and in the setting's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connects => "connects",
            Self::Requests => "requests",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Channels => "channels",
            Self::IdempotencyKeys => "idempotency_keys",
        }
    }

    /// What is counted, for people.
    fn noun(self) -> &'static str {
        match self {
            Self::Connects => "streams",
            Self::Requests => "requests",
            Self::Events => "published events",
            Self::Bytes => "KiB of published events",
            Self::Channels => "new channels",
            Self::IdempotencyKeys => "new idempotency keys",
        }
    }

    /// Returns the maximum rate of a user per second, bytes in KiB; 0 is no limit.
    fn of_user(self, rates: &UserRates) -> u32 {
        match self {
            Self::Connects => rates.connects_per_second,
            Self::Requests => rates.requests_per_second,
            Self::Events => rates.events_per_second,
            Self::Bytes => kib(rates.bytes_per_second.as_u64()),
            Self::Channels => rates.channels_per_second,
            Self::IdempotencyKeys => rates.idempotency_keys_per_second,
        }
    }

    /// Returns the maximum rate of an address per second, bytes in KiB; 0 is no limit.
    fn of_address(self, rates: &AddressRates) -> u32 {
        match self {
            Self::Connects => rates.connects_per_second,
            Self::Requests => rates.requests_per_second,
            Self::Events => rates.events_per_second,
            Self::Bytes => kib(rates.bytes_per_second.as_u64()),
            Self::Channels => rates.channels_per_second,
            Self::IdempotencyKeys => rates.idempotency_keys_per_second,
        }
    }
}

/// Converts bytes to KiB, rounded up.
pub(crate) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The user that the token names.
    User,
    /// The service that an API key names, if the key has its own rate.
    Key,
    /// The client's address.
    Address,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Key, Self::Address];

    /// The word in metrics and in the setting's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::Address => "address",
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The user; none without one.
    pub user: Option<&'a User>,
    /// Where the request comes from.
    pub address: ClientAddress,
}

/// A rate that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// Whose.
    pub scope: Scope,
    /// Of what.
    pub kind: Kind,
    /// How many a second are allowed.
    pub per_second: u32,
    /// When there is room again.
    pub wait: Duration,
}

impl RateLimited {
    /// Says which limit it is, and which setting.
    pub fn detail(&self) -> String {
        let Self { scope, kind, per_second, .. } = self;
        let (noun, kind) = (kind.noun(), kind.as_str());
        let setting = match scope {
            Scope::Key => format!("auth.keys: {kind}_per_second"),
            scope => format!("limits.{}.{kind}_per_second", scope.as_str()),
        };
        let scope = scope.as_str();
        format!("more than {per_second} {noun} per second from this {scope} ({setting})")
    }

    /// Returns after how many whole seconds to try again, at least one.
    pub fn retry_after(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

/// One limit for each kind; none where the setting is 0.
#[derive(Debug)]
struct Table<K: Clone + Eq + Hash>([Option<Limit<K>>; Kind::ALL.len()]);

impl<K: Clone + Eq + Hash> Table<K> {
    fn new(per_second: impl Fn(Kind) -> u32, keys: usize) -> Self {
        Self(Kind::ALL.map(|kind| Limit::new(per_second(kind), keys)))
    }

    fn of(&self, kind: Kind) -> Option<&Limit<K>> {
        self.0[kind as usize].as_ref()
    }
}

/// All rates of a node. As old as the node.
#[derive(Debug)]
pub struct Rates {
    user: Table<User>,
    /// Rates of published events of services, in place of the user's.
    keys: HashMap<User, Option<Limit<()>>>,
    address: Table<AddressKey>,
    /// Streams that all clients together ask for.
    connects: Option<Limit<()>>,
    metrics: RateMetrics,
}

impl Rates {
    /// Makes the limits that the settings name.
    pub fn new(config: &LimitsConfig, metrics: RateMetrics) -> Self {
        Self {
            user: Table::new(|kind| kind.of_user(&config.user), config.rate_keys),
            keys: HashMap::new(),
            address: Table::new(|kind| kind.of_address(&config.address), config.rate_keys),
            connects: Limit::new(config.connects_per_second, 1),
            metrics,
        }
    }

    /// Sets the rates of API keys. Keys of one name share the greatest; 0 is no limit.
    #[must_use]
    pub fn with_keys(mut self, keys: &[ApiKey]) -> Self {
        let mut rates: HashMap<&User, u32> = HashMap::new();
        for (name, rate) in keys.iter().filter_map(|key| Some((&key.name, key.events_per_second?))) {
            let most = rates.entry(name).or_insert(rate);
            *most = if *most == 0 || rate == 0 { 0 } else { rate.max(*most) };
        }
        self.keys = rates.into_iter().map(|(name, rate)| (name.clone(), Limit::new(rate, 1))).collect();
        self
    }

    /// Charges `n` to the caller's user, then to the caller's address. More than one second's worth is admitted while a
    /// whole second's worth is left, and what is beyond it is owed.
    ///
    /// # Errors
    ///
    /// When one of the two has used up its rate. Nothing is charged to it, or behind it.
    pub fn admit(&self, kind: Kind, caller: Caller<'_>, n: u32) -> Result<(), RateLimited> {
        self.check(kind, caller, n).inspect_err(|limited| self.count(limited))
    }

    /// The same, without counting a refusal: for a caller that finds out later whether anything has to be refused.
    ///
    /// # Errors
    ///
    /// As [`Rates::admit`].
    pub fn check(&self, kind: Kind, caller: Caller<'_>, n: u32) -> Result<(), RateLimited> {
        let user = caller.user;
        if let Some(limit) = user.filter(|_| kind == Kind::Events).and_then(|user| self.keys.get(user)) {
            if let Some(limit) = limit {
                limited(limit, &(), n, (Scope::Key, kind))?;
            }
        } else if let Some((user, limit)) = user.zip(self.user.of(kind)) {
            limited(limit, user, n, (Scope::User, kind))?;
        }
        if let Some((key, limit)) = caller.address.key().zip(self.address.of(kind)) {
            limited(limit, &key, n, (Scope::Address, kind))?;
        }
        Ok(())
    }

    /// Counts a refusal by [`Rates::check`].
    pub fn count(&self, limited: &RateLimited) {
        self.metrics.count_limited(limited.scope, limited.kind);
    }

    /// Charges more of a kind after [`Rates::admit`], also beyond what the rate allows: what is done cannot be
    /// refused, but what comes next can. Less, if `n` is negative.
    pub fn settle(&self, kind: Kind, caller: Caller<'_>, n: i64) {
        if let Some((user, limit)) = caller.user.zip(self.user.of(kind)) {
            limit.adjust(user, n);
        }
        if let Some((key, limit)) = caller.address.key().zip(self.address.of(kind)) {
            limit.adjust(&key, n);
        }
    }

    /// Takes a place among the streams that the node opens in this second.
    pub fn connect(&self) -> bool {
        self.connects.as_ref().is_none_or(|limit| limit.check(&(), 1).is_ok())
    }

    /// Gives the place back: the stream was refused for a reason of its user's, and must not be charged to all.
    pub fn not_connected(&self) {
        if let Some(limit) = &self.connects {
            limit.adjust(&(), -1);
        }
    }

    /// Drops buckets that are full again, and shows how many are left.
    pub(crate) fn forget(&self) {
        let (mut users, mut addresses, mut shared) = (0, 0, 0);
        for limit in self.user.0.iter().flatten() {
            users += limit.forget();
            shared += limit.take_shared();
        }
        for limit in self.address.0.iter().flatten() {
            addresses += limit.forget();
            shared += limit.take_shared();
        }
        self.metrics.show_keys(Scope::User, users);
        self.metrics.show_keys(Scope::Address, addresses);
        self.metrics.keys_shared.inc_by(shared);
    }
}

fn limited<K: Clone + Eq + Hash>(
    limit: &Limit<K>,
    key: &K,
    n: u32,
    (scope, kind): (Scope, Kind),
) -> Result<(), RateLimited> {
    let refused = |wait| RateLimited { scope, kind, per_second: limit.per_second(), wait };
    limit.check(key, n).map_err(refused)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::address::trusted::TrustedProxies;

    fn rates(change: impl FnOnce(&mut LimitsConfig)) -> Rates {
        let mut config = LimitsConfig::default();
        change(&mut config);
        Rates::new(&config, RateMetrics::default())
    }

    fn from(address: &str) -> ClientAddress {
        TrustedProxies::default().client(address.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn a_users_flood_takes_nothing_from_others_at_the_same_address() {
        let rates = rates(|limits| {
            limits.user.connects_per_second = 3;
            limits.address.connects_per_second = 100;
            limits.connects_per_second = 50;
        });
        let address = from("192.0.2.1");
        let (eve, bob) = (User::new("eve").unwrap(), User::new("bob").unwrap());
        let ask = |user| rates.admit(Kind::Connects, Caller { user: Some(user), address }, 1);
        let admitted = (0..10_000).filter(|_| ask(&eve).is_ok()).count();
        assert!((3..30).contains(&admitted), "{admitted}");
        let refused = ask(&eve).unwrap_err();
        assert_eq!((refused.scope, refused.per_second, refused.retry_after()), (Scope::User, 3, 1));
        assert!(refused.detail().ends_with("(limits.user.connects_per_second)"), "{}", refused.detail());
        assert!(ask(&bob).is_ok(), "the address's rate is left");
        assert!(rates.connect(), "and the node's");
    }

    #[test]
    fn an_addresss_flood_is_refused_before_the_node_is_charged() {
        let rates = rates(|limits| {
            limits.address.connects_per_second = 5;
            limits.connects_per_second = 20;
        });
        let ask = |address: &str| {
            let caller = Caller { user: None, address: from(address) };
            rates.admit(Kind::Connects, caller, 1).is_ok() && rates.connect()
        };
        // One host has a whole /64.
        let admitted = (0..10_000).filter(|n| ask(&format!("2001:db8::{:x}", n % 1000))).count();
        assert!((5..15).contains(&admitted), "{admitted}");
        assert!(ask("2001:db8:0:1::1") && ask("192.0.2.1"));
    }

    #[test]
    fn a_place_that_is_given_back_is_not_charged() {
        let rates = rates(|limits| limits.connects_per_second = 2);
        for _ in 0..1000 {
            assert!(rates.connect());
            rates.not_connected();
        }
        assert!(rates.connect() && rates.connect());
        assert!(!rates.connect());
    }

    #[test]
    fn what_was_done_beyond_the_rate_is_paid_for_later() {
        let rates = rates(|limits| limits.user.channels_per_second = 10);
        let user = User::new("7").unwrap();
        let caller = Caller { user: Some(&user), address: from("192.0.2.1") };
        assert!(rates.admit(Kind::Channels, caller, 1).is_ok());
        rates.settle(Kind::Channels, caller, 599);
        let refused = rates.admit(Kind::Channels, caller, 1).unwrap_err();
        assert!((55..=60).contains(&refused.retry_after()), "{refused:?}");
        rates.settle(Kind::Channels, caller, -599);
        assert!(rates.admit(Kind::Channels, caller, 1).is_ok());
    }

    #[test]
    fn a_request_larger_than_the_rate_passes_and_the_next_one_waits_for_all_of_it() {
        let rates = rates(|limits| limits.user.events_per_second = 10);
        let user = User::new("7").unwrap();
        let caller = Caller { user: Some(&user), address: from("192.0.2.1") };
        assert!(rates.admit(Kind::Events, caller, 1000).is_ok());
        let refused = rates.admit(Kind::Events, caller, 1).unwrap_err();
        assert!((98..=100).contains(&refused.retry_after()), "{refused:?}");
    }

    #[test]
    fn zero_is_no_limit() {
        let rates = rates(|limits| {
            limits.user.requests_per_second = 0;
            limits.address.requests_per_second = 0;
            limits.connects_per_second = 0;
        });
        let user = User::new("7").unwrap();
        let caller = Caller { user: Some(&user), address: from("192.0.2.1") };
        assert!((0..100_000).all(|_| rates.admit(Kind::Requests, caller, 1).is_ok() && rates.connect()));
    }
}
