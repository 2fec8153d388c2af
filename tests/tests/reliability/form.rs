//! How long and how large a scenario is.

use std::time::Duration;

use fanfare_soak::scenario::{Scenario, ScenarioOptions};

/// Size and duration of a test, from its environment.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// How many clients.
    pub(crate) clients: usize,
    /// Events a second.
    pub(crate) rate: f64,
    /// Bytes of data in each event.
    pub(crate) size: usize,
    /// By which ways events come in. Not over HTTP by default: what is shipped must work with nothing but streams on it.
    pub(crate) mix: &'static str,
    /// Of the scenario.
    pub(crate) options: ScenarioOptions,
}

/// Whether the long form was asked for.
pub(crate) fn is_long() -> bool {
    std::env::var("FANFARE_SOAK").is_ok_and(|form| form == "long")
}

impl Form {
    /// The short or the long form.
    pub(crate) fn of(scenario: Scenario) -> Self {
        let long = is_long();
        let seconds = |short, when_long| Duration::from_secs(if long { when_long } else { short });
        let options = ScenarioOptions {
            nodes: 3,
            quiet: seconds(2, 10),
            fault: scenario.default_fault(),
            duration: seconds(5, 60),
            seed: 1,
            stalled: 1000,
        };
        Self {
            clients: if long { 3000 } else { 500 },
            rate: 210.0,
            size: 100,
            mix: "fcall:2,xadd:1",
            options,
        }
    }
}
