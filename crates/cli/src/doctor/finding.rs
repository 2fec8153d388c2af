//! The result of a check.

use serde_json::{Value, json};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// An operator should change something.
    Wrong,
    /// It could not be checked, or does not apply.
    Unknown,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was checked.
    pub(super) check: &'static str,
    pub(super) outcome: Outcome,
    /// What is there.
    pub(super) found: String,
    /// What to do if it is wrong; empty otherwise.
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Ok, found: found.into(), advice: String::new() }
    }

    pub(super) fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Unknown, found: found.into(), advice: String::new() }
    }

    pub(super) fn wrong(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Wrong, found: found.into(), advice: advice.into() }
    }

    /// Returns what was found as right if it `holds`, and else as wrong.
    pub(super) fn when(holds: bool, check: &'static str, found: impl Into<String>, advice: &str) -> Self {
        if holds { Self::ok(check, found) } else { Self::wrong(check, found, advice) }
    }

    pub(super) fn row(&self) -> [String; 3] {
        [self.check.to_owned(), self.word().to_owned(), self.found.clone()]
    }

    pub(super) fn json(&self) -> Value {
        json!({ "check": self.check, "result": self.word(), "found": self.found, "advice": self.advice })
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Wrong => "wrong",
            Outcome::Unknown => "unknown",
        }
    }
}
