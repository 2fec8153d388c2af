//! Logs of channels.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::wire::Frame;
use fanfare_protocol::{Channel, Entry, Event, Position};

use super::channel::ChannelState;
use super::{MemoryBroker, State};
use crate::log::{Page, PageLimit};
use crate::{BrokerError, EventLog, Published};

#[async_trait]
impl EventLog for MemoryBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        batch.into_iter().map(|publication| Ok(self.publish_one(publication))).collect()
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        let publish = |publication: Publication| {
            let is_known = publication.ephemeral
                || self.read(&publication.channel, |log| log.last > Position::ZERO || !log.log.is_empty());
            Ok(is_known.then(|| self.publish_one(publication)))
        };
        batch.into_iter().map(publish).collect()
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        Ok(self.read(channel, |log| log.page(after, limit, self.now())))
    }

    async fn locate(&self, channel: &Channel, from: StartAt) -> Result<Position, BrokerError> {
        Ok(self.read(channel, |log| log.locate(from)))
    }
}

impl MemoryBroker {
    fn publish_one(&self, publication: Publication) -> Published {
        let Publication { channel, event, key, ephemeral } = publication;
        let mut state = self.state();
        if ephemeral {
            state.subscribers.message(&channel, &Frame::Ephemeral(event));
            return Published { position: None, repeat: false, created: false };
        }
        self.append(&mut state, &channel, event, key)
    }

    /// Appends an event to its channel's log and sends it to the subscribers, unless its idempotency key is known.
    pub(super) fn append(
        &self,
        state: &mut State,
        channel: &Channel,
        event: Event,
        key: Option<String>,
    ) -> Published {
        let now = self.now();
        let retention = self.settings.retention.of(channel);
        let log = state.channels.entry(channel.clone()).or_default();
        log.age(now, &retention);
        if let Some(position) = key.as_ref().and_then(|key| log.seen(key, now)) {
            return Published { position: Some(position), repeat: true, created: false };
        }
        let entry = log.append(now, self.sequence_step.load(Ordering::Relaxed), event, &retention);
        if let Some(key) = key {
            log.remember(key, entry.position, now, self.settings.idempotency_window);
        }
        let position = entry.position;
        state.subscribers.message(channel, &Frame::Kept(Entry::clone(&entry)));
        Published { position: Some(position), repeat: false, created: entry.previous == Position::ZERO }
    }

    /// Reads one channel's log after dropping expired events; an unknown channel is empty.
    fn read<T>(&self, channel: &Channel, read: impl FnOnce(&ChannelState) -> T) -> T {
        let now = self.now();
        let retention = self.settings.retention.of(channel);
        let mut state = self.state();
        match state.channels.get_mut(channel) {
            Some(log) => {
                log.age(now, &retention);
                read(log)
            }
            None => read(&ChannelState::default()),
        }
    }
}
