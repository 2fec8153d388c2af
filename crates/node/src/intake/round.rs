//! One call to publish, and what became of each of its entries.

use std::collections::HashSet;

use fanfare_broker::BrokerError;
use fanfare_broker::broker::Published;
use fanfare_broker::intake::Settlement;
use fanfare_protocol::Channel;

use super::reading::Item;
use crate::metrics::cluster::ClusterMetrics;

/// What became of one call to publish.
#[derive(Default)]
pub(super) struct Round {
    /// Published, or never to be.
    pub(super) settled: Vec<Settlement>,
    /// To be tried again, in order.
    pub(super) failed: Vec<Item>,
    /// The first failure that passes.
    pub(super) error: Option<BrokerError>,
}

impl Round {
    /// Sorts the results, which are in the order of the items, and counts them.
    pub(super) fn sort(
        items: Vec<Item>,
        results: Vec<Result<Published, BrokerError>>,
        metrics: &ClusterMetrics,
    ) -> Self {
        let mut round = Self::default();
        let mut held_up: HashSet<Channel> = HashSet::new();
        let missing = std::iter::repeat_with(|| Err(BrokerError::Unavailable("no result".into())));
        for (item, result) in items.into_iter().zip(results.into_iter().chain(missing)) {
            let Item { entry, publication } = &item;
            match result {
                Ok(published) => {
                    if published.repeat {
                        metrics.intake_repeat.inc();
                    } else if held_up.contains(&publication.channel) {
                        metrics.intake_reordered.inc();
                    }
                    metrics.intake_done.inc();
                    let channel = publication.channel.clone();
                    round.settled.push(Settlement::Done { id: entry.id, channel });
                }
                Err(error) if error.is_passing() => {
                    metrics.intake_retried.inc();
                    held_up.insert(publication.channel.clone());
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

/// Leaves the first item of each channel, and answers the others; both keep their order.
pub(super) fn split_first_of_each_channel(items: &mut Vec<Item>) -> Vec<Item> {
    let mut seen: HashSet<Channel> = HashSet::new();
    let (first, rest) =
        std::mem::take(items).into_iter().partition(|item| seen.insert(item.publication.channel.clone()));
    *items = first;
    rest
}
