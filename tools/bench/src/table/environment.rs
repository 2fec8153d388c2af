//! What all rows share: programs, times, sizes.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::Settings;
use super::core::Core;
use crate::endpoint::{Audience, Endpoint};
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measure::{Load, Pace};
use crate::sample::Content;

/// How many streams connect at a time where that is not what is measured.
const CONNECTING: usize = 64;

/// The place where everything runs.
#[derive(Debug)]
pub(super) struct Environment {
    /// This program, which is also the baseline.
    pub(super) load: PathBuf,
    /// The node.
    pub(super) fanfare: PathBuf,
    /// Configurations and logs; goes with this value.
    pub(super) dir: PathBuf,
    _dir: TempDir,
    /// Short times and small numbers.
    pub(super) quick: bool,
}

impl Environment {
    /// Takes the load's core.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Core::Load.pin()?;
        let dir = tempfile::Builder::new().prefix("fanfare-bench-").tempdir()?;
        Ok(Self {
            load: std::env::current_exe()?,
            fanfare: settings.fanfare.clone(),
            dir: dir.path().to_owned(),
            _dir: dir,
            quick: settings.quick,
        })
    }

    /// Returns a number of streams, or a twentieth of it.
    pub(super) fn streams(&self, streams: usize) -> usize {
        if self.quick { streams / 20 } else { streams }
    }

    /// Returns a time, or a fifth of it.
    pub(super) fn time(&self, time: Duration) -> Duration {
        if self.quick { time / 5 } else { time }
    }

    /// Returns a load of 100 bytes an event.
    pub(super) fn load(&self, pace: Pace) -> Load {
        Load {
            pace,
            size: 100,
            content: Content::Filler,
            warm_up: self.time(Duration::from_secs(2)),
            window: self.time(Duration::from_secs(6)),
            progress: false,
        }
    }

    /// Streams of a server, all open and at rest. With users every stream reads its events.
    pub(super) fn generator(
        &self,
        endpoint: &Endpoint,
        streams: usize,
        audience: Audience,
        publishers: usize,
    ) -> anyhow::Result<LoadGenerator> {
        let sampled = if audience == Audience::All { 100 } else { streams };
        let settings = GeneratorSettings { streams, audience, sampled, publishers };
        let mut generator = LoadGenerator::new(endpoint.clone(), settings)?;
        generator.open(CONNECTING)?;
        generator.rest(self.time(Duration::from_secs(2)))?;
        Ok(generator)
    }
}
