//! Acknowledged cursors: a hash for each reader, and a stream of receipts.

use async_trait::async_trait;
use fanfare_protocol::User;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::reader::Reader;

use super::error::unexpected;
use super::key::about;
use super::reply::{map, millis, position, text};
use super::{RedisBroker, script};
use crate::ack_store::{AckedPosition, Receipt};
use crate::{AckStore, BrokerError};

#[async_trait]
impl AckStore for RedisBroker {
    async fn acknowledge(
        &self,
        user: &User,
        reader: &Reader,
        positions: &[AckedPosition],
    ) -> Result<usize, BrokerError> {
        let (readers, acked) = (self.keys.readers(user), self.keys.acked(user, reader));
        let settings = &self.settings.acks;
        let mut call = script::ACKNOWLEDGE.call(&[&readers, &acked]);
        call.arg(reader.to_string())
            .arg(millis(settings.keep))
            .arg(settings.readers)
            .arg(MAX_CURSOR_CHANNELS);
        for (tag, position) in positions {
            call.arg(*tag).arg(position.to_string());
        }
        match self.commands(&readers).call_script(&script::ACKNOWLEDGE, call).await? {
            ::redis::Value::Int(moved) => {
                usize::try_from(moved).map_err(|_| unexpected("a number of positions"))
            }
            _ => Err(unexpected("a number of positions")),
        }
    }

    async fn acknowledged(&self, user: &User, reader: &Reader) -> Result<Vec<AckedPosition>, BrokerError> {
        let acked = self.keys.acked(user, reader);
        let reply = self.commands(&acked).command(about("HGETALL", &acked)).await?;
        let pairs = map(reply).ok_or_else(|| unexpected("a hash"))?;
        // A value that no node wrote is left out.
        let read = |(tag, at)| Some((text(tag)?.parse().ok()?, position(at)?));
        let mut positions: Vec<AckedPosition> = pairs.into_iter().filter_map(read).collect();
        positions.sort_unstable_by_key(|(tag, _)| *tag);
        Ok(positions)
    }

    async fn report_receipts(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let stream = self.keys.receipts();
        let add = |receipt: &Receipt| {
            let mut add = about("XADD", &stream);
            add.arg("MAXLEN").arg("~").arg(self.settings.acks.receipts).arg("*");
            add.arg("user").arg(receipt.user.to_string()).arg("reader").arg(receipt.reader.to_string());
            add.arg("channel").arg(receipt.channel.as_str()).arg("id").arg(receipt.position.to_string());
            add
        };
        for reply in self.commands(&stream).commands(receipts.iter().map(add).collect()).await? {
            super::error::result(reply)?;
        }
        Ok(())
    }
}
