//! Commands about presence that Redis refused within the scripts of sessions.

use std::sync::Arc;

use ::redis::Value;
use fanfare_telemetry::Throttle;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::reply::text;

/// Maximum length of Redis's text in the log, in characters.
const MAX_ERROR: usize = 200;

/// Counts and logs the refusals, which keep no session from its claim or release. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct PresenceRefusals {
    /// `fanfare_presence_refused_total`.
    count: Counter,
    log: Arc<Throttle>,
}

impl PresenceRefusals {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "fanfare_presence_refused",
            "Commands about the presence of channels that Redis refused",
            self.count.clone(),
        );
    }

    /// Returns the answer of a script without the refusals that `session.lua` adds.
    pub(super) fn strip(&self, reply: Value) -> Value {
        let Value::Array(mut parts) = reply else { return reply };
        let is_refused = matches!(parts.first(), Some(Value::BulkString(word)) if word == b"refused");
        match (is_refused, &parts[..]) {
            (true, [_, Value::Int(count), error, _]) => {
                self.record(u64::try_from(*count).unwrap_or_default(), error.clone());
                parts.pop().unwrap_or(Value::Nil)
            }
            _ => Value::Array(parts),
        }
    }

    fn record(&self, count: u64, error: Value) {
        self.count.inc_by(count);
        if let Some(held_back) = self.log.admit() {
            let error: String = text(error).unwrap_or_default().chars().take(MAX_ERROR).collect();
            tracing::warn!(error, held_back, "Redis refused a command about presence; it is not exact");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn refusals_are_counted_and_the_answer_is_that_of_the_script() {
        let refusals = PresenceRefusals::default();
        let claim = Value::Array(["17", "n1", "", "0"].map(word).into());
        let wrapped = Value::Array(vec![word("refused"), Value::Int(2), word("NOPERM x"), claim.clone()]);
        assert_eq!(refusals.strip(wrapped), claim);
        assert_eq!(refusals.count.get(), 2);
        for plain in [claim, Value::Int(1), word("17"), Value::Array(vec![]), Value::Nil] {
            assert_eq!(refusals.strip(plain.clone()), plain);
        }
        assert_eq!(refusals.count.get(), 2);
    }
}
