//! The settings of a node: defaults, overridden by a file, the environment and flags, in this order.
//!
//! Every value is read and checked before anything is bound, and all faults are reported at once.
//!
//! # Layout
//!
//! - [`source`]: the sources of settings
//! - [`setting`]: every setting with its name, kind, default and description
//! - [`value`]: parses and shows values
//! - [`network`]: addresses and ranges
//! - [`certificate`]: reads a certificate and its key
//! - `check`: checks of values and between them; `origin`, `host`: checks of origins and host names
//! - [`fault`]: faults of the configuration
//! - [`secret`]: a value that is never shown
//! - one struct per topic: [`node`], [`admin`], [`redis`], [`auth`], [`stream`], [`limits`], [`retention`], [`publish`],
//!   [`intake`], [`lease`], [`session`], [`http`], [`tls`], [`drain`], [`log`]

pub mod admin;
pub mod auth;
pub mod certificate;
mod check;
pub mod drain;
pub mod fault;
mod host;
pub mod http;
pub mod intake;
pub mod lease;
pub mod limits;
pub mod log;
pub mod network;
pub mod node;
mod origin;
pub mod publish;
pub mod redis;
pub mod retention;
pub mod secret;
pub mod session;
pub mod setting;
pub mod source;
pub mod stream;
pub mod tls;
pub mod value;

use std::collections::HashMap;

use bytesize::ByteSize;
use config::{ConfigError, Map, Source, Value};
use fanfare_broker::BrokerSettings;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Faults};
use crate::setting::{SETTINGS, Setting};
use crate::source::{Given, Sources};
use crate::value::Origin;

/// The whole configuration of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// HTTP.
    pub http: http::HttpConfig,
    /// TLS.
    pub tls: tls::TlsConfig,
    /// Graceful shutdown.
    pub drain: drain::DrainConfig,
    /// The node's own log.
    pub log: log::LogConfig,
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
        let mut winners: HashMap<&'static str, Given> = HashMap::new();
        for Given { setting, value, origin } in given {
            match read_one(setting, value.clone()) {
                Ok(value) => {
                    winners.insert(setting.name, Given { setting, value, origin });
                }
                Err(wrong) => faults.push(Fault {
                    setting: setting.name.to_owned(),
                    value: Some(value::show(setting.kind, &value)),
                    origin,
                    wrong,
                    right: setting.kind.right(),
                }),
            }
        }
        let mut config = assemble(&winners).unwrap_or_else(|error| {
            // Each value was deserialized alone before, so the structs and the table disagree about a setting.
            faults.push(inconsistent(&error));
            Self::default()
        });
        check::check(&mut config, &winners, &mut faults);
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
            dead_events: self.retention.dead_events,
        }
    }
}

/// Converts a size to a number of bytes in memory.
pub fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Settings as a source of the crate `config`.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Reads one value alone, and checks that its field's type accepts it.
fn read_one(setting: &'static Setting, value: Value) -> Result<Value, String> {
    let value = value::read(setting.kind, value)?;
    deserialize(Map::from([(setting.name.to_owned(), value.clone())])).map_err(|error| explain(&error))?;
    Ok(value)
}

fn assemble(winners: &HashMap<&'static str, Given>) -> Result<Config, ConfigError> {
    deserialize(winners.iter().map(|(name, given)| ((*name).to_owned(), given.value.clone())).collect())
}

fn deserialize(values: Map<String, Value>) -> Result<Config, ConfigError> {
    config::Config::builder().add_source(Layer(values)).build()?.try_deserialize()
}

/// Returns the innermost message of an error, without names and origins, which the fault has already.
fn explain(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => explain(error),
        ConfigError::Type { unexpected, expected, .. } => format!("{unexpected} is not {expected}"),
        other => other.to_string(),
    }
}

fn inconsistent(error: &ConfigError) -> Fault {
    Fault {
        setting: "the configuration".to_owned(),
        value: None,
        origin: Origin::Default,
        wrong: explain(error),
        right: "please report this".to_owned(),
    }
}

fn effective(config: &Config, winners: &HashMap<&'static str, Given>) -> Vec<Effective> {
    let show = |setting: &'static Setting| {
        if let Some(given) = winners.get(setting.name) {
            let value = value::show(setting.kind, &given.value);
            return Effective { setting: setting.name, value: Some(value), origin: given.origin.clone() };
        }
        let value =
            if setting.name == "node.id" { config.node.id.to_string() } else { setting.default.to_owned() };
        let value = Some(value).filter(|value| !value.is_empty());
        Effective { setting: setting.name, value, origin: Origin::Default }
    };
    SETTINGS.iter().map(show).collect()
}

#[cfg(test)]
mod tests;
