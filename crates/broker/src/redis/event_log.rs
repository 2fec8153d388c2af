//! The logs of channels.

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};

use super::{RedisBroker, log, publish};
use crate::log::{Page, PageLimit};
use crate::{BrokerError, EventLog, Published};

#[async_trait]
impl EventLog for RedisBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        publish::publish(self, batch).await
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        publish::publish_known(self, batch).await
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        log::page(self, channel, after, limit).await
    }

    async fn locate(&self, channel: &Channel, from: StartAt) -> Result<Position, BrokerError> {
        log::locate(self, channel, from).await
    }
}
