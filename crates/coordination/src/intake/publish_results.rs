//! Results of one publish call.

use fanfare_broker::BrokerError;
use fanfare_broker::intake::IntakeOutcome;
use fanfare_protocol::{Channel, Position};
use fanfare_telemetry::Throttle;

use super::fetch::{DeadLetter, Fields};
use crate::metrics::ClusterMetrics;

/// Results of one publish call.
#[derive(Default)]
pub(super) struct PublishResults {
    /// Published now or before, or dropped because they were late.
    pub(super) published: Vec<Position>,
    /// Entries that can never be published.
    pub(super) dead: Vec<DeadLetter>,
    /// Whether entries were held up or failed temporarily.
    pub(super) is_unfinished: bool,
    /// The first temporary failure.
    pub(super) error: Option<BrokerError>,
}

impl PublishResults {
    /// Classifies and counts the results, which are in the order of the entries.
    pub(super) fn sort(
        entries: Vec<(Position, Channel, Fields)>,
        results: Vec<Result<IntakeOutcome, BrokerError>>,
        metrics: &ClusterMetrics,
    ) -> Self {
        let mut sorted = Self::default();
        let missing = std::iter::repeat_with(|| Err(BrokerError::Unavailable("no result".into())));
        for ((id, channel, fields), result) in entries.into_iter().zip(results.into_iter().chain(missing)) {
            match result {
                Ok(IntakeOutcome::Blocked) => {
                    metrics.intake_retried.inc();
                    sorted.is_unfinished = true;
                }
                Ok(IntakeOutcome::Late) => {
                    metrics.intake_late.inc();
                    report_late(id, &channel);
                    sorted.published.push(id);
                }
                Ok(outcome) => {
                    if outcome == IntakeOutcome::Repeat {
                        metrics.intake_repeat.inc();
                    }
                    metrics.intake_done.inc();
                    sorted.published.push(id);
                }
                Err(error) if error.is_passing() => {
                    metrics.intake_retried.inc();
                    sorted.is_unfinished = true;
                    sorted.error.get_or_insert(error);
                }
                Err(error) => {
                    let channel = channel.to_string();
                    sorted.dead.push(DeadLetter { id, channel, reason: error.to_string(), fields });
                }
            }
        }
        sorted
    }
}

fn report_late(id: Position, channel: &Channel) {
    static LOG: Throttle = Throttle::of_events();
    if let Some(held_back) = LOG.admit() {
        tracing::warn!(entry = %id, %channel, held_back, "dropped an intake entry: the time of its field until is over");
    }
}
