//! One call to publish, and what became of each of its entries.

use fanfare_broker::BrokerError;
use fanfare_broker::intake::{Intaken, Settlement};

use super::taking::Item;
use crate::metrics::cluster::ClusterMetrics;

/// What became of one call to publish.
#[derive(Default)]
pub(super) struct Round {
    /// Published, or never to be.
    pub(super) settled: Vec<Settlement>,
    /// To be tried again, in order.
    pub(super) failed: Vec<Item>,
    /// The first failure that passes. None where entries were only held up, behind one that can never be published: the
    /// next round has them without it.
    pub(super) error: Option<BrokerError>,
}

impl Round {
    /// Sorts the results, which are in the order of the items, and counts them.
    pub(super) fn sort(
        items: Vec<Item>,
        results: Vec<Result<Intaken, BrokerError>>,
        metrics: &ClusterMetrics,
    ) -> Self {
        let mut round = Self::default();
        let missing = std::iter::repeat_with(|| Err(BrokerError::Unavailable("no result".into())));
        for (item, result) in items.into_iter().zip(results.into_iter().chain(missing)) {
            match result {
                Ok(Intaken::HeldUp) => {
                    metrics.intake_retried.inc();
                    round.failed.push(item);
                }
                Ok(intaken) => {
                    if intaken == Intaken::Repeat {
                        metrics.intake_repeat.inc();
                    }
                    metrics.intake_done.inc();
                    round.settled.push(Settlement::Done(item.entry.id));
                }
                Err(error) if error.is_passing() => {
                    metrics.intake_retried.inc();
                    round.failed.push(item);
                    round.error.get_or_insert(error);
                }
                Err(error) => {
                    metrics.intake_dead.inc();
                    round.settled.push(Settlement::Dead(item.entry, error.to_string()));
                }
            }
        }
        round
    }
}
