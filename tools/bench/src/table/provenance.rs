//! How often a row was measured, when, and of what.

use serde::{Deserialize, Serialize};

use super::machine::said;
use super::network::Network;

/// One for each row: some rows may be measured again while the others stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Provenance {
    /// How many runs there are of it.
    pub(super) runs: usize,
    /// Year, month and day of the first, in UTC.
    pub(super) date: String,
    /// The commit, with a mark if the tree had changes; `unknown` where there is no repository.
    pub(super) commit: String,
    pub(super) network: Network,
}

impl Provenance {
    /// One without runs, of what is here now.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            runs: 0,
            date: today(),
            commit: said("git", &["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown".into()),
            network: Network::look()?,
        })
    }

    /// Returns one sentence.
    pub(super) fn words(&self) -> String {
        let Self { runs, date, commit, network } = self;
        let times = match runs {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            more => format!("{more} times"),
        };
        format!("Measured {times} on {date}, commit {commit}; network: {}.", network.words())
    }
}

/// Returns year, month and day in UTC.
fn today() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string().chars().take(10).collect()
}
