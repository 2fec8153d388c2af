//! How many bytes of logs may be on their way to this node at once.
//!
//! Streams and the history call share it, and publishing, sessions and leases do not need it: whatever is read, Redis and
//! the network are free again for them after so many bytes.

use bytesize::ByteSize;
use fanfare_broker::log::{Page, PageLimit};
use fanfare_broker::{Broker, BrokerError};
use fanfare_protocol::{Channel, Position};
use tokio::sync::Semaphore;

/// A node's budget. Lives as long as the node.
#[derive(Debug)]
pub struct ReadBudget {
    /// A permit for each byte. Reads wait for theirs in order.
    room: Semaphore,
    total: u32,
}

impl ReadBudget {
    /// A budget of so many bytes, at most 4 GiB.
    pub fn new(bytes: ByteSize) -> Self {
        let total = u32::try_from(bytes.as_u64()).unwrap_or(u32::MAX);
        let room = Semaphore::new(usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS));
        Self { room, total }
    }

    /// Reads a page when there is room for it. A first entry that is larger than the limit is a page by itself.
    ///
    /// # Errors
    ///
    /// Those of the broker.
    pub async fn page(
        &self,
        broker: &dyn Broker,
        channel: &Channel,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BrokerError> {
        let mut limit = limit;
        loop {
            let bytes = u32::try_from(limit.bytes).unwrap_or(u32::MAX).min(self.total);
            // The semaphore is never closed.
            let place = self.room.acquire_many(bytes).await.ok();
            let page = broker.page(channel, after, limit).await?;
            drop(place);
            match page.needs {
                Some(needs) if needs > limit.bytes => limit = PageLimit { entries: 1, bytes: needs },
                _ => return Ok(page),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanfare_protocol::Event;
    use fanfare_protocol::publish::Publication;
    use futures_util::future::join_all;

    use super::*;
    use crate::faulty::{Call, Fault, FaultyBroker};

    async fn filled(sizes: &[usize]) -> FaultyBroker {
        let broker = FaultyBroker::new();
        let publication = |&size: &usize| Publication {
            channel: Channel::broadcast(),
            event: Event::new(None, "x".repeat(size), 1 << 20).unwrap(),
            key: None,
            ephemeral: false,
        };
        broker.inner.publish(sizes.iter().map(publication).collect()).await;
        broker
    }

    #[tokio::test(start_paused = true)]
    async fn reads_under_way_are_bounded_in_bytes() {
        let broker = filled(&[10]).await;
        broker.always(Call::Page, Fault::Late(std::time::Duration::from_millis(1)));
        let budget = Arc::new(ReadBudget::new(ByteSize::b(1000)));
        for (bytes, at_once) in [(100, 10), (400, 2), (900, 1), (5000, 1)] {
            let channel = Channel::broadcast();
            let limit = PageLimit { entries: 10, bytes };
            let read = |_| budget.page(&broker, &channel, Position::ZERO, limit);
            let pages = join_all((0..20).map(read)).await;
            assert!(pages.iter().all(|page| page.as_ref().is_ok_and(|page| page.entries.len() == 1)));
            assert_eq!(broker.most_at_once(Call::Page), at_once, "{bytes} of 1000 bytes");
            broker.forget_counts();
        }
    }

    #[tokio::test]
    async fn an_event_larger_than_a_page_is_read_by_itself() {
        let broker = filled(&[10, 100_000, 10]).await;
        let budget = ReadBudget::new(ByteSize::b(1000));
        let limit = PageLimit { entries: 10, bytes: 1000 };
        let mut after = Position::ZERO;
        for (entries, end) in [(1, false), (1, false), (1, true)] {
            let page = budget.page(&broker, &Channel::broadcast(), after, limit).await.unwrap();
            assert_eq!((page.entries.len(), page.end), (entries, end));
            after = page.next;
        }
    }
}
