//! The settings of a node: defaults, overridden by a file, the environment and flags, in this order.
//!
//! Every value is read and checked before anything is bound, and all faults are reported at once.
//!
//! # Layout
//!
//! - [`source`]: the sources of settings
//! - `lines`: the lines of a file that have the settings
//! - [`setting`]: one setting, and the macro that declares the settings of a topic
//! - [`example`], [`schema`]: a file with all settings, and the JSON Schema of files
//! - `value`, `tables`, `issuers`, `grant_rules`: parses and shows values; lists of tables; those of issuers of tokens
//! - [`network`]: addresses and ranges; [`presence`]: channels whose presence is recorded
//! - [`certificate`]: reads a certificate and its key
//! - `check`: collects what the checks of the topics find; `origin`, `host`, `fetch_url`: checks of origins, host names and URLs
//! - [`fault`]: faults of the configuration
//! - [`secret`]: a value that is never shown
//! - one struct per topic: [`node`], [`admin`], [`redis`], [`auth`], [`callback`], [`stream`], [`limits`], [`retention`], [`publish`],
//!   [`intake`], [`lease`], [`session`], [`ack`], [`finite`], [`http`], [`tls`], [`drain`], [`log`], [`metrics`], [`trace`]

pub mod ack;
pub mod admin;
pub mod auth;
pub mod callback;
pub mod certificate;
mod check;
pub mod drain;
pub mod example;
pub mod fault;
mod fetch_url;
pub mod finite;
mod grant_rules;
mod host;
pub mod http;
pub mod intake;
mod issuers;
mod keys;
pub mod lease;
pub mod limits;
mod lines;
pub mod log;
pub mod metrics;
pub mod network;
pub mod node;
mod origin;
pub mod presence;
pub mod publish;
pub mod redis;
pub mod retention;
pub mod schema;
pub mod secret;
pub mod session;
pub mod setting;
pub mod source;
pub mod stream;
mod tables;
pub mod tls;
pub mod trace;
mod value;

use std::collections::HashMap;

use bytesize::ByteSize;
use fanfare_broker::BrokerSettings;

use crate::check::Checks;
use crate::fault::{Fault, Faults};
use crate::setting::Setting;
use crate::source::{Given, Sources};
pub use crate::value::{MAX_DURATION, Origin};

/// The whole configuration of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The node itself.
    pub node: node::NodeConfig,
    /// The admin listener.
    pub admin: admin::AdminConfig,
    /// Redis connection.
    pub redis: redis::RedisConfig,
    /// Authentication and authorization.
    pub auth: auth::AuthConfig,
    /// Streams.
    pub stream: stream::StreamConfig,
    /// Limits of one node.
    pub limits: limits::LimitsConfig,
    /// Retention of the channels' logs.
    pub retention: retention::RetentionConfig,
    /// Publishing.
    pub publish: publish::PublishConfig,
    /// The durable intake.
    pub intake: intake::IntakeConfig,
    /// The node's lease.
    pub lease: lease::LeaseConfig,
    /// Sessions.
    pub session: session::SessionConfig,
    /// Acknowledged cursors.
    pub ack: ack::AckConfig,
    /// Finite streams.
    pub finite: finite::FiniteConfig,
    /// HTTP.
    pub http: http::HttpConfig,
    /// TLS.
    pub tls: tls::TlsConfig,
    /// Graceful shutdown.
    pub drain: drain::DrainConfig,
    /// The node's own log.
    pub log: log::LogConfig,
    /// Metrics.
    pub metrics: metrics::MetricsConfig,
    /// Traces.
    pub trace: trace::TraceConfig,
}

/// Tables of settings, in the order of `docs/configuration.md`.
const TOPICS: &[&[Setting]] = &[
    node::NodeConfig::SETTINGS,
    admin::AdminConfig::SETTINGS,
    redis::RedisConfig::SETTINGS,
    auth::AuthConfig::SETTINGS,
    auth::JwtConfig::SETTINGS,
    callback::CallbackConfig::SETTINGS,
    stream::StreamConfig::SETTINGS,
    limits::LimitsConfig::SETTINGS,
    limits::UserRates::SETTINGS,
    limits::AddressRates::SETTINGS,
    retention::RetentionConfig::SETTINGS,
    publish::PublishConfig::SETTINGS,
    intake::IntakeConfig::SETTINGS,
    session::SessionConfig::SETTINGS,
    ack::AckConfig::SETTINGS,
    finite::FiniteConfig::SETTINGS,
    lease::LeaseConfig::SETTINGS,
    http::HttpConfig::SETTINGS,
    tls::TlsConfig::SETTINGS,
    drain::DrainConfig::SETTINGS,
    log::LogConfig::SETTINGS,
    metrics::MetricsConfig::SETTINGS,
    trace::TraceConfig::SETTINGS,
];

/// Returns all settings, by topic.
pub fn settings() -> impl DoubleEndedIterator<Item = &'static Setting> {
    TOPICS.iter().copied().flatten()
}

/// The effective value of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Name of the setting.
    pub setting: &'static str,
    /// The value as text, with secrets masked; `None` if it is not set.
    pub value: Option<String>,
    /// The source of the value.
    pub origin: Origin,
}

/// The result of reading all sources, valid or not.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The configuration; an invalid setting has its default.
    pub config: Config,
    /// Every setting, by topic.
    pub effective: Vec<Effective>,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    ///
    /// Returns all faults if any setting is invalid.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let Reading { config, faults, .. } = Self::read(sources);
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    /// Reads all sources and returns the result even if settings are invalid.
    pub fn read(sources: &Sources) -> Reading {
        let (given, mut faults) = source::collect(sources);
        let mut config = Self::default();
        let mut winners: HashMap<&'static str, Given> = HashMap::new();
        for given in given {
            match (given.setting.read)(&mut config, &given.value) {
                Ok(()) => {
                    winners.insert(given.setting.name, given);
                }
                Err(wrong) => faults.push(Fault {
                    setting: given.setting.name.to_owned(),
                    value: Some(given.show()),
                    origin: given.origin,
                    wrong,
                    right: (given.setting.right)(),
                }),
            }
        }
        check(&mut config, &winners, &mut faults);
        faults.sort_by(|a, b| a.setting.cmp(&b.setting));
        let effective = effective(&config, &winners);
        Reading { config, effective, faults }
    }

    /// Returns the settings of the broker.
    pub fn broker_settings(&self) -> BrokerSettings {
        BrokerSettings {
            retention: self.retention.rules(),
            idempotency_window: self.publish.idempotency_window,
            grace: self.session.grace,
            max_data: bytes(self.limits.event_data),
            lifecycle_events: self.retention.lifecycle_events,
            lifecycle_per_minute: self.session.lifecycle_per_minute,
            heartbeat_memory: self.stream.heartbeat_memory,
            dead_events: self.retention.dead_events,
            acks: self.ack.broker(),
            streams: self.finite.broker(),
        }
    }
}

/// Converts a size to a number of bytes in memory.
pub fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Checks all settings, and reads the files with secrets.
fn check(config: &mut Config, given: &HashMap<&'static str, Given>, faults: &mut Vec<Fault>) {
    let mut checks = Checks { given, faults };
    for setting in settings() {
        if let Some((least, most)) = setting.range {
            let right = format!("{least} to {most}");
            checks.hold((setting.is_within)(config), &[setting.name], "value out of range", &right);
        }
    }
    admin::check(config, &mut checks);
    auth::check(config, &mut checks);
    redis::check(config, &mut checks);
    stream::check(config, &mut checks);
    limits::check(config, &mut checks);
    retention::check(config, &mut checks);
    drain::check(config, &mut checks);
    http::check(config, &mut checks);
    tls::check(config, &mut checks);
    log::check(config, &mut checks);
    metrics::check(config, &mut checks);
    config.trace.check(&mut checks);
}

fn effective(config: &Config, winners: &HashMap<&'static str, Given>) -> Vec<Effective> {
    let show = |setting: &'static Setting| {
        if let Some(given) = winners.get(setting.name) {
            return Effective {
                setting: setting.name,
                value: Some(given.show()),
                origin: given.origin.clone(),
            };
        }
        let value =
            if setting.name == "node.id" { config.node.id.to_string() } else { setting.default.to_owned() };
        let value = Some(value).filter(|value| !value.is_empty());
        Effective { setting: setting.name, value, origin: Origin::Default }
    };
    settings().map(show).collect()
}

#[cfg(test)]
mod tests;
