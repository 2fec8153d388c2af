//! From the fields of an entry to a publication.

use fanfare_broker::intake::{IntakeEntry, Settlement, once_key};
use fanfare_protocol::publish::Publication;

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
        match Publication::from_fields(&entry.fields, max_data) {
            Ok(mut publication) => {
                // Whoever publishes the entry again, after a crash, does it under the same key.
                publication.key.get_or_insert_with(|| once_key(entry.id));
                items.push(Item { entry, publication });
            }
            Err(error) => dead.push(Settlement::Dead(entry, error.to_string())),
        }
    }
    (items, dead)
}
