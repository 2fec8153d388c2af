//! From the fields of an entry to a publication.

use bytes::Bytes;
use fanfare_broker::intake::{IntakeEntry, Settlement, once_key};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Event};

/// An entry that can be published.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) entry: IntakeEntry,
    pub(super) publication: Publication,
}

/// Reads entries in order. What can never be published is settled as dead, and does not hold the others up.
pub(super) fn read(entries: Vec<IntakeEntry>, max_data: usize) -> (Vec<Item>, Vec<Settlement>) {
    let mut items = Vec::with_capacity(entries.len());
    let mut dead = Vec::new();
    for entry in entries {
        match publication(&entry.fields, max_data) {
            Ok(mut publication) => {
                // Whoever publishes the entry again, after a crash, does it under the same key.
                publication.key.get_or_insert_with(|| once_key(entry.id));
                items.push(Item { entry, publication });
            }
            Err(reason) => dead.push(Settlement::Dead(entry, reason)),
        }
    }
    (items, dead)
}

fn publication(fields: &[(Bytes, Bytes)], max_data: usize) -> Result<Publication, String> {
    let (mut channel, mut kind, mut data, mut key) = (None, None, None, None);
    for (name, value) in fields {
        let place = match name.as_ref() {
            b"channel" => &mut channel,
            b"type" => &mut kind,
            b"data" => &mut data,
            b"key" => &mut key,
            other => {
                let name: String = String::from_utf8_lossy(other).chars().take(64).collect();
                return Err(format!("unknown field {name:?}; there are channel, type, data and key"));
            }
        };
        if place.replace(value.clone()).is_some() {
            return Err(format!("the field {:?} is there twice", String::from_utf8_lossy(name)));
        }
    }
    let text = |what, bytes: &Bytes| {
        let text = std::str::from_utf8(bytes).map(str::to_owned);
        text.map_err(|e| format!("{what}: not UTF-8 at byte {}", e.valid_up_to()))
    };
    let channel = text("channel", &channel.ok_or("the field \"channel\" is missing")?)?;
    let data = data.ok_or("the field \"data\" is missing")?;
    let publication = Publication {
        channel: Channel::new(&channel).map_err(|e| format!("channel: {e}"))?,
        event: Event::from_bytes(&kind.unwrap_or_default(), data, max_data)
            .map_err(|e| format!("event: {e}"))?,
        key: key.map(|key| text("key", &key)).transpose()?,
        ephemeral: false,
    };
    publication.check_key().map_err(|error| error.to_string())?;
    Ok(publication)
}
