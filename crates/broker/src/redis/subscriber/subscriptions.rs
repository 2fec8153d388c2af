//! Wanted and confirmed subscriptions, reconciled with few commands.
//!
//! Only one round of commands is in progress at a time, and a channel is in it at most once. So each confirmation has
//! exactly one meaning, however often a channel was subscribed and unsubscribed meanwhile.

use std::collections::HashMap;

use fanfare_protocol::Channel;
use indexmap::IndexSet;

use crate::subscriber::Ticket;

/// Wanted and confirmed subscriptions of a node. One entry for each channel that is wanted or still subscribed.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    entries: HashMap<Channel, Entry, foldhash::fast::RandomState>,
    /// Channels whose subscription is not in the wanted state.
    dirty: IndexSet<Channel, foldhash::fast::RandomState>,
    /// Number of unconfirmed subscriptions of the round.
    unconfirmed: usize,
}

#[derive(Debug)]
struct Entry {
    /// The newest ticket, while the channel is wanted.
    wanted: Option<Ticket>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    Subscribing,
    On,
    Unsubscribing,
}

/// The next commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) subscribe: Vec<Channel>,
    pub(super) unsubscribe: Vec<Channel>,
}

impl Subscriptions {
    /// Adds channels. Returns those that are subscribed already.
    pub(super) fn subscribe(&mut self, channels: Vec<(Channel, Ticket)>) -> Vec<(Channel, Ticket)> {
        let mut subscribed = Vec::new();
        for (channel, ticket) in channels {
            let entry =
                self.entries.entry(channel.clone()).or_insert(Entry { wanted: None, state: State::Off });
            entry.wanted = Some(ticket);
            match entry.state {
                State::On => {
                    // The channel may have been about to be unsubscribed.
                    self.dirty.swap_remove(&channel);
                    subscribed.push((channel, ticket));
                }
                State::Off => {
                    self.dirty.insert(channel);
                }
                // Checked again when the round is confirmed.
                State::Subscribing | State::Unsubscribing => {}
            }
        }
        subscribed
    }

    /// Removes channels.
    pub(super) fn unsubscribe(&mut self, channels: Vec<Channel>) {
        for channel in channels {
            let Some(entry) = self.entries.get_mut(&channel) else { continue };
            entry.wanted = None;
            match entry.state {
                State::Off => {
                    self.dirty.swap_remove(&channel);
                    self.entries.remove(&channel);
                }
                State::On => {
                    self.dirty.insert(channel);
                }
                State::Subscribing | State::Unsubscribing => {}
            }
        }
    }

    /// Returns the next round of at most `size` channels. The previous round must be confirmed.
    pub(super) fn round(&mut self, size: usize) -> Round {
        let mut round = Round::default();
        let keep = self.dirty.len().saturating_sub(size);
        for channel in self.dirty.split_off(keep) {
            let Some(entry) = self.entries.get_mut(&channel) else { continue };
            match (entry.state, entry.wanted) {
                (State::Off, Some(_)) => {
                    entry.state = State::Subscribing;
                    self.unconfirmed += 1;
                    round.subscribe.push(channel);
                }
                (State::On, None) => {
                    entry.state = State::Unsubscribing;
                    round.unsubscribe.push(channel);
                }
                _ => {}
            }
        }
        round
    }

    /// Records the confirmation of a subscription. Returns the channel, if it is still wanted.
    pub(super) fn confirmed(&mut self, name: &str) -> Option<(Channel, Ticket)> {
        let channel = self.entries.get_key_value(name)?.0.clone();
        let entry = self.entries.get_mut(name)?;
        if entry.state == State::Subscribing {
            self.unconfirmed -= 1;
        }
        entry.state = State::On;
        let ticket = entry.wanted;
        if ticket.is_none() {
            self.dirty.insert(channel.clone());
        }
        ticket.map(|ticket| (channel, ticket))
    }

    /// Records the end of a subscription. Returns false if it was not requested: then messages may be missing.
    #[must_use]
    pub(super) fn unsubscribed(&mut self, name: &str) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return true };
        let was_requested = entry.state == State::Unsubscribing;
        entry.state = State::Off;
        if entry.wanted.is_none() {
            self.entries.remove(name);
        } else if let Some((channel, _)) = self.entries.get_key_value(name) {
            self.dirty.insert(channel.clone());
        }
        was_requested
    }

    /// Returns whether the channel is being unsubscribed, so that the end of its first topic is expected.
    #[must_use]
    pub(super) fn is_unsubscribing(&self, name: &str) -> bool {
        self.entries.get(name).is_none_or(|entry| entry.state == State::Unsubscribing)
    }

    /// Returns whether every subscription of the round is confirmed.
    pub(super) fn all_confirmed(&self) -> bool {
        self.unconfirmed == 0
    }

    /// Returns the channel of a message, if it is subscribed and wanted.
    pub(super) fn subscribed_channel(&self, name: &str) -> Option<&Channel> {
        let (channel, entry) = self.entries.get_key_value(name)?;
        (entry.state == State::On && entry.wanted.is_some()).then_some(channel)
    }

    /// Clears all subscriptions after the connection was lost.
    pub(super) fn reset(&mut self) {
        self.unconfirmed = 0;
        self.dirty.clear();
        self.entries.retain(|_, entry| entry.wanted.is_some());
        for (channel, entry) in &mut self.entries {
            entry.state = State::Off;
            self.dirty.insert(channel.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(n: usize) -> Channel {
        Channel::new(&format!("c{n}")).unwrap()
    }

    fn confirm(subscriptions: &mut Subscriptions, round: &Round) -> Vec<(Channel, Ticket)> {
        round.unsubscribe.iter().for_each(|channel| assert!(subscriptions.unsubscribed(channel.as_str())));
        round.subscribe.iter().filter_map(|channel| subscriptions.confirmed(channel.as_str())).collect()
    }

    #[test]
    fn ten_thousand_subscriptions_become_a_few_rounds() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..10_000 {
            assert!(subscriptions.subscribe(vec![(channel(n), 1)]).is_empty());
        }
        let mut rounds = 0;
        loop {
            let round = subscriptions.round(1000);
            if round == Round::default() {
                break;
            }
            assert_eq!(confirm(&mut subscriptions, &round).len(), 1000);
            rounds += 1;
        }
        assert_eq!(rounds, 10);
        assert!(subscriptions.subscribed_channel("c77").is_some() && subscriptions.all_confirmed());
    }

    #[test]
    fn a_channel_subscribed_again_while_it_is_unconfirmed_has_the_newer_ticket() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(vec![(channel(1), 1)]);
        let round = subscriptions.round(10);
        subscriptions.unsubscribe(vec![channel(1)]);
        assert!(subscriptions.subscribe(vec![(channel(1), 2)]).is_empty());
        assert!(subscriptions.subscribed_channel("c1").is_none());
        assert_eq!(confirm(&mut subscriptions, &round), [(channel(1), 2)]);
        assert_eq!(subscriptions.round(10), Round::default());
    }

    #[test]
    fn a_channel_unsubscribed_while_it_is_unconfirmed_is_unsubscribed_afterwards() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(vec![(channel(1), 1)]);
        let round = subscriptions.round(10);
        subscriptions.unsubscribe(vec![channel(1)]);
        assert!(confirm(&mut subscriptions, &round).is_empty());
        let round = subscriptions.round(10);
        assert_eq!(round.unsubscribe, [channel(1)]);
        confirm(&mut subscriptions, &round);
        assert!(subscriptions.entries.is_empty() && subscriptions.dirty.is_empty());
    }

    #[test]
    fn a_channel_subscribed_again_while_it_is_unsubscribed_has_no_messages_before_its_confirmation() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(vec![(channel(1), 1)]);
        let round = subscriptions.round(10);
        confirm(&mut subscriptions, &round);
        subscriptions.unsubscribe(vec![channel(1)]);
        let leaving = subscriptions.round(10);
        assert!(subscriptions.subscribe(vec![(channel(1), 2)]).is_empty());
        assert!(subscriptions.subscribed_channel("c1").is_none());
        confirm(&mut subscriptions, &leaving);
        let round = subscriptions.round(10);
        assert_eq!(confirm(&mut subscriptions, &round), [(channel(1), 2)]);
    }

    #[test]
    fn a_subscribed_channel_subscribed_again_is_confirmed_at_once() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(vec![(channel(1), 1)]);
        let round = subscriptions.round(10);
        confirm(&mut subscriptions, &round);
        subscriptions.unsubscribe(vec![channel(1)]);
        assert_eq!(subscriptions.subscribe(vec![(channel(1), 2)]), [(channel(1), 2)]);
        assert_eq!(subscriptions.round(10), Round::default());
    }

    #[test]
    fn a_lost_connection_drops_unwanted_channels_and_subscribes_the_others_again() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe((0..5).map(|n| (channel(n), 1)).collect());
        let round = subscriptions.round(3);
        confirm(&mut subscriptions, &round);
        let _ = subscriptions.round(3);
        subscriptions.unsubscribe(vec![channel(0), channel(4)]);
        subscriptions.reset();
        let round = subscriptions.round(10);
        assert_eq!((round.subscribe.len(), round.unsubscribe.len()), (3, 0));
        assert_eq!(confirm(&mut subscriptions, &round).len(), 3);
        assert!(subscriptions.all_confirmed());
    }

    #[test]
    fn twenty_thousand_channels_are_unsubscribed_in_full_rounds() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe((0..20_000).map(|n| (channel(n), 1)).collect());
        let mut rounds = 0;
        let mut work_off = |subscriptions: &mut Subscriptions| loop {
            let round = subscriptions.round(1000);
            if round == Round::default() {
                return std::mem::take(&mut rounds);
            }
            confirm(subscriptions, &round);
            rounds += 1;
        };
        assert_eq!(work_off(&mut subscriptions), 20);
        for n in 0..20_000 {
            subscriptions.unsubscribe(vec![channel(n)]);
        }
        assert_eq!(work_off(&mut subscriptions), 20);
        assert!(subscriptions.entries.is_empty());
    }
}
