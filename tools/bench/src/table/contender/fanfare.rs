//! One Fanfare node.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fanfare_testkit::key_pair::{KeyPair, jwk_set};
use nix::sys::signal::Signal;

use super::Running;
use super::redis::Redis;
use crate::endpoint::{Audience, Endpoint, Way};
use crate::signer::Signer;
use crate::table::core::Core;
use crate::table::environment::Environment;
use crate::table::program::{Program, free_address, get};

/// The secret of the tokens; nothing else than this machine ever sees one.
const SECRET: &str = "a secret for the benchmark, 32 bytes and more";

/// The algorithm of the streams' tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::table) enum Tokens {
    /// With a secret.
    HS256,
    /// With an RSA key of 2048 bits.
    RS256,
    /// With a P-256 key.
    ES256,
}

impl Tokens {
    /// Gives the node its key, in a file of this directory if it is public. Returns what signs.
    fn set_up(self, command: &mut Command, dir: &Path) -> anyhow::Result<Signer> {
        let key = match self {
            Self::HS256 => {
                command.env("FANFARE_AUTH__JWT__SECRET", SECRET);
                return Ok(Signer::Secret(SECRET.to_owned()));
            }
            Self::RS256 => KeyPair::rsa("bench"),
            Self::ES256 => KeyPair::new("bench"),
        };
        let file = dir.join("jwk-set.json");
        std::fs::write(&file, jwk_set(&[&key]))?;
        command.env("FANFARE_AUTH__JWT__KEY_FILES", file);
        Ok(Signer::Key(Arc::new(key)))
    }
}

/// What differs between rows.
#[derive(Clone, Debug)]
pub(in crate::table) struct Fanfare {
    /// Published to over HTTP, not by `FCALL`.
    pub(in crate::table) over_http: bool,
    /// Without Redis.
    pub(in crate::table) alone: bool,
    /// With tokens of this kind.
    pub(in crate::table) tokens: Option<Tokens>,
    /// Its id among the nodes of its Redis.
    pub(in crate::table) id: &'static str,
    /// Where it runs.
    pub(in crate::table) core: Core,
    /// More settings, by their environment names.
    pub(in crate::table) settings: Vec<(&'static str, &'static str)>,
}

impl Default for Fanfare {
    fn default() -> Self {
        Self {
            over_http: false,
            alone: false,
            tokens: None,
            id: "bench",
            core: Core::Server,
            settings: Vec::new(),
        }
    }
}

impl Fanfare {
    /// Starts it, with a Redis of its own unless it is alone.
    pub(in crate::table) fn start(
        &self,
        environment: &Environment,
        audience: Audience,
    ) -> anyhow::Result<Running> {
        let redis = if self.alone { None } else { Some(Redis::start(environment)?) };
        self.start_on(environment, audience, redis)
    }

    /// Starts it on a Redis that runs.
    pub(in crate::table) fn start_on(
        &self,
        environment: &Environment,
        audience: Audience,
        redis: Option<Redis>,
    ) -> anyhow::Result<Running> {
        let (server, address, signer) = self.spawn(environment, redis.as_ref())?;
        let way = self.way(audience, address, redis.as_ref());
        let mut endpoint = Endpoint {
            ready: "event: connected".into(),
            ..Endpoint::new(address, self.stream(audience), way)
        };
        if signer.is_some() {
            endpoint.headers.push("Authorization: Bearer {token}".into());
            endpoint.signer = signer;
        }
        Ok(Running { endpoint, server, redis })
    }

    /// Starts it beside others, on a Redis that remains theirs.
    pub(in crate::table) fn start_beside(
        &self,
        environment: &Environment,
        redis: &Redis,
    ) -> anyhow::Result<(Program, SocketAddr)> {
        let (server, address, _) = self.spawn(environment, Some(redis))?;
        Ok((server, address))
    }

    fn spawn(
        &self,
        environment: &Environment,
        redis: Option<&Redis>,
    ) -> anyhow::Result<(Program, SocketAddr, Option<Signer>)> {
        let address = free_address()?;
        let mut command = Command::new(&environment.fanfare);
        command.args(["serve", "--listen", &address.to_string(), "--node-id", self.id]);
        command.args(["--auth", if self.tokens.is_some() { "jwt" } else { "none" }]);
        if let Some(redis) = redis {
            command.args(["--redis", &redis.url()]);
        }
        let signer = self.tokens.map(|tokens| tokens.set_up(&mut command, &environment.dir)).transpose()?;
        // All clients come in one moment here, and some thousands of sockets are open before their streams are.
        command.env("FANFARE_LIMITS__CONNECTS_PER_SECOND", "0").env("FANFARE_LOG__LEVEL", "warn");
        // All load comes from one address, and much of it from one user.
        for scope in ["USER", "ADDRESS"] {
            for kind in ["CONNECTS", "REQUESTS", "EVENTS", "BYTES", "CHANNELS"] {
                command.env(format!("FANFARE_LIMITS__{scope}__{kind}_PER_SECOND"), "0");
            }
        }
        command.envs(self.settings.iter().copied());
        let is_ready =
            || get(address, "/readyz").starts_with("HTTP/1.1 200") && redis.is_none_or(Redis::has_function);
        let server = Program::start(command, self.core, Signal::SIGKILL, &environment.dir, is_ready)?;
        Ok((server, address, signer))
    }

    fn stream(&self, audience: Audience) -> &'static str {
        match audience {
            // The token names the user.
            Audience::All | Audience::Each(1) if self.tokens.is_some() => "/v1/events",
            Audience::All => "/v1/events",
            Audience::Each(1) => "/v1/events?user={user}",
            Audience::Each(_) => "/v1/events?{channels}",
        }
    }

    fn way(&self, audience: Audience, address: SocketAddr, redis: Option<&Redis>) -> Way {
        let channel = match audience {
            Audience::All => "broadcast",
            Audience::Each(1) => "user:{target}",
            Audience::Each(_) => "c{target}",
        };
        match redis {
            Some(redis) if !self.over_http => Way::Redis {
                address: redis.address,
                command: [
                    "FCALL",
                    "fanfare_publish",
                    "1",
                    &format!("fanfare:{{{channel}}}:log"),
                    "",
                    "{data}",
                ]
                .map(str::to_owned)
                .to_vec(),
            },
            _ => Way::Http {
                address,
                path: "/v1/publish".into(),
                headers: vec!["Content-Type: application/json".into()],
                body: format!(r#"{{"channel":"{channel}","data":"{{escaped}}"}}"#),
            },
        }
    }
}
