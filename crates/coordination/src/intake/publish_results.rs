//! Results of one publish call.

use fanfare_broker::BrokerError;
use fanfare_broker::intake::IntakeOutcome;
use fanfare_protocol::{Channel, Position};

use super::fetch::{DeadLetter, Fields};
use crate::metrics::ClusterMetrics;

/// Results of one publish call.
#[derive(Default)]
pub(super) struct PublishResults {
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
