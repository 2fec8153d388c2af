//! Data queued for one client.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::Position;

use crate::encoded_event::{EncodedEvent, Encoding};

/// One queued item.
#[derive(Debug)]
pub(crate) enum Item {
    /// An event of the connection's channel with this index. Its `id:` is created when it is written.
    Event(Arc<EncodedEvent>, u16),
    /// A control event's block without its `id:`, which is created when it is written.
    Control(Bytes),
    /// The client's position in the channel with this index, from the next item on: it has no event. Never the only item:
    /// it writes nothing.
    Moved(u16, Position),
    /// A heartbeat.
    Heartbeat,
}

/// The outgoing queue: bounded in bytes, although the encoded events are shared with other queues.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns whether there is a block: an event of the channels, or a control event.
    pub(crate) fn has_block(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Event(..) | Item::Control(..)))
    }

    /// Returns the number of queued bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, item: Item, encoding: Encoding) {
        self.bytes += weight(&item, encoding);
        self.items.push_back(item);
    }

    /// Queues a new position of a channel. Of several in a row, the last one counts.
    pub(crate) fn push_moved(&mut self, index: u16, position: Position, encoding: Encoding) {
        match self.items.back_mut() {
            Some(Item::Moved(last, old)) if *last == index => *old = position,
            _ => self.push(Item::Moved(index, position), encoding),
        }
    }

    /// Returns whether the next item is a new position, which takes no bytes.
    pub(crate) fn is_next_moved(&self) -> bool {
        matches!(self.items.front(), Some(Item::Moved(..)))
    }

    pub(crate) fn pop(&mut self, encoding: Encoding) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= weight(&item, encoding);
        if self.items.is_empty() && self.items.capacity() > 16 {
            // Frees the memory of a burst.
            self.items = VecDeque::new();
        }
        Some(item)
    }
}

/// Memory of an item besides its bytes, which matters for small items.
const ITEM_BYTES: usize = std::mem::size_of::<Item>();

fn weight(item: &Item, encoding: Encoding) -> usize {
    let bytes = match item {
        Item::Event(event, _) => event.encode(encoding).len(),
        Item::Control(block) => block.len(),
        Item::Moved(..) => 0,
        Item::Heartbeat => encoding.dialect.heartbeat().len(),
    };
    bytes + ITEM_BYTES
}
