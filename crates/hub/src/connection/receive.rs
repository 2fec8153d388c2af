//! What a connection receives: live events, and the entries of its channels' logs.

use std::sync::Arc;

use fanfare_broker::log::Page;
use fanfare_protocol::{Channel, Position};
use fanfare_telemetry::Throttle;

use super::queue::Item;
use super::subscription::{ChannelState, PageFit};
use super::{Connection, ShardContext, narrow};
use crate::encoded_event::{ChainLink, EncodedEvent};

/// Result of a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveOutcome {
    /// The event is the next one of the client: it must be queued or sent.
    Next,
    /// The connection has the event already, will read it from the log, or does not get it.
    Skipped,
    /// The channel must be read from its log.
    Behind,
}

/// Result of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageOutcome {
    /// Whether the connection is at the end of the log.
    pub(crate) at_end: bool,
    /// Whether the log was rolled back, and the connection with it.
    pub(crate) back: bool,
    /// The position after which the log must be read to find out where it was rolled back.
    pub(crate) check: Option<Position>,
}

impl Connection {
    /// Returns whether the queue accepts an event. An event larger than the bound is accepted if the queue is not
    /// full: it cannot wait for an empty queue, which other busy channels may prevent forever.
    fn has_room(&self, event: &EncodedEvent, bound: usize) -> bool {
        let bytes = event.encode(self.encoding).len();
        let waiting = self.waiting();
        if bytes > bound { waiting < bound } else { waiting + bytes <= bound }
    }

    /// Handles a live event of the channel at `index`. The caller queues or sends it according to the result.
    pub(crate) fn receive_live(
        &mut self,
        index: usize,
        event: &Arc<EncodedEvent>,
        context: &ShardContext,
    ) -> LiveOutcome {
        if self.closing.is_some() {
            return LiveOutcome::Skipped;
        }
        let bound = context.queue_bound();
        let Some(link) = event.link else {
            return self.receive_ephemeral(event, bound, context);
        };
        let subscription = &self.subscriptions[index];
        match subscription.state {
            // The hub compares the event with the log, unless it was received before.
            ChannelState::Live if link.position <= subscription.position => LiveOutcome::Skipped,
            ChannelState::Live if subscription.continues(link) && self.has_room(event, bound) => {
                self.subscriptions[index].advance(link);
                if event.excepts(&self.identity) {
                    self.pass(index, link.position);
                    return LiveOutcome::Skipped;
                }
                LiveOutcome::Next
            }
            ChannelState::Live => {
                context.metrics.catch_ups.inc();
                self.set_state(index, ChannelState::Behind, context);
                LiveOutcome::Behind
            }
            ChannelState::Behind => LiveOutcome::Behind,
            ChannelState::Locating | ChannelState::Reading | ChannelState::Stalled => LiveOutcome::Skipped,
        }
    }

    fn receive_ephemeral(&self, event: &EncodedEvent, bound: usize, context: &ShardContext) -> LiveOutcome {
        // Nothing may be sent before the first block, since the client has no cursor yet.
        if self.locating > 0 || event.excepts(&self.identity) {
            return LiveOutcome::Skipped;
        }
        if !self.has_room(event, bound) {
            static LOG: Throttle = Throttle::of_a_condition();
            context.metrics.ephemeral_dropped.inc();
            if let Some(held_back) = LOG.admit() {
                let channel = &event.channel;
                tracing::info!(%channel, held_back, "dropped ephemeral events: client is slow (stream.queue)");
            }
            return LiveOutcome::Skipped;
        }
        LiveOutcome::Next
    }

    /// Queues the next entries of the channel at `index`, from its log or its window. Skips entries that the client
    /// has, and reports a gap. All entries are queued, so that they are not read again.
    pub(crate) fn queue_entries<'a>(
        &mut self,
        index: usize,
        entries: impl Iterator<Item = (ChainLink, &'a Arc<EncodedEvent>)>,
        context: &ShardContext,
    ) {
        let mut oldest = None;
        for (link, event) in entries {
            if link.position <= self.subscriptions[index].position {
                continue;
            }
            let position = self.subscriptions[index].client_position();
            if self.subscriptions[index].advance(link) {
                self.report_gap(&event.channel, position, context);
            }
            if event.excepts(&self.identity) {
                self.pass(index, link.position);
            } else {
                oldest.get_or_insert(link.position.ms);
                self.queue_event(index, event, context);
            }
        }
        // One of a page, so that catching up costs no more.
        if let Some(published) = oldest {
            context.metrics.observe_catch_up(context.namespace(), published);
        }
    }

    /// Handles a page of the log of the channel at `index`. `fork` is the position after which the log may have
    /// different entries than before, if one is known.
    pub(crate) fn queue_page(
        &mut self,
        index: usize,
        (channel, page, entries): (&Channel, &Page, &[(ChainLink, Arc<EncodedEvent>)]),
        fork: Option<Position>,
        context: &ShardContext,
    ) -> PageOutcome {
        let position = self.subscriptions[index].client_position();
        match self.subscriptions[index].compare(page, fork) {
            PageFit::On => {
                self.queue_entries(index, entries.iter().map(|(link, event)| (*link, event)), context);
                self.subscriptions[index].skip_to(page.next);
                return PageOutcome { at_end: page.end, ..PageOutcome::default() };
            }
            PageFit::Check(fork) => return PageOutcome { check: Some(fork), ..PageOutcome::default() },
            PageFit::Expired => {
                // No event moves the cursor beyond the gap, and each reconnect would report it again.
                self.queue.push(Item::Moved(narrow(index), page.last), self.encoding);
                self.report_gap(channel, position, context);
                return PageOutcome { at_end: true, ..PageOutcome::default() };
            }
            PageFit::Back => {}
            PageFit::Lost => self.report_gap(channel, position, context),
        }
        PageOutcome { at_end: self.subscriptions[index].position == page.last, back: true, check: None }
    }

    /// Moves the channel at `index` back to a fork, and handles the page after it, which confirms the fork.
    pub(crate) fn rewind(
        &mut self,
        index: usize,
        fork: Position,
        page: (&Channel, &Page, &[(ChainLink, Arc<EncodedEvent>)]),
        context: &ShardContext,
    ) -> PageOutcome {
        let position = self.subscriptions[index].position;
        self.subscriptions[index].move_to(fork);
        self.report_gap(page.0, position, context);
        self.queue_page(index, page, None, context)
    }

    fn report_gap(&mut self, channel: &Channel, after: Position, context: &ShardContext) {
        context.metrics.gaps[context.namespace()].inc();
        let gap = self.encoding.dialect.gap(channel, after);
        if let Some(poll) = &mut self.long_poll {
            poll.event(context.now, gap.len());
        }
        self.push_control(gap);
    }
}
