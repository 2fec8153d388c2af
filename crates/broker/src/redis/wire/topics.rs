//! Wanted and confirmed subscriptions, reconciled with few commands.
//!
//! Only one round of commands is in progress at a time, and a channel is in it at most once. So each confirmation has
//! exactly one meaning, however often a channel was followed and unfollowed meanwhile.

use std::collections::HashMap;

use fanfare_protocol::Channel;
use indexmap::IndexSet;

use crate::wire::Ticket;

/// Wanted and confirmed subscriptions of a node. One entry for each channel that is wanted or still subscribed.
#[derive(Debug, Default)]
pub(super) struct Topics {
    entries: HashMap<Channel, Topic, foldhash::fast::RandomState>,
    /// Channels whose subscription is not in the wanted state.
    dirty: IndexSet<Channel, foldhash::fast::RandomState>,
    /// Number of unconfirmed subscriptions of the round.
    asked: usize,
}

#[derive(Debug)]
struct Topic {
    /// The newest ticket, while the channel is wanted.
    wanted: Option<Ticket>,
    state: Subscription,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    Off,
    Asked,
    On,
    Leaving,
}

/// The next commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) join: Vec<Channel>,
    pub(super) leave: Vec<Channel>,
}

impl Topics {
    /// Adds channels. Returns those that are subscribed already.
    pub(super) fn follow(&mut self, channels: Vec<(Channel, Ticket)>) -> Vec<(Channel, Ticket)> {
        let mut heard = Vec::new();
        for (channel, ticket) in channels {
            let topic = self
                .entries
                .entry(channel.clone())
                .or_insert(Topic { wanted: None, state: Subscription::Off });
            topic.wanted = Some(ticket);
            match topic.state {
                Subscription::On => {
                    // The channel may have been about to be unsubscribed.
                    self.dirty.swap_remove(&channel);
                    heard.push((channel, ticket));
                }
                Subscription::Off => {
                    self.dirty.insert(channel);
                }
                // Checked again when the round is confirmed.
                Subscription::Asked | Subscription::Leaving => {}
            }
        }
        heard
    }

    /// Removes channels.
    pub(super) fn unfollow(&mut self, channels: Vec<Channel>) {
        for channel in channels {
            let Some(topic) = self.entries.get_mut(&channel) else { continue };
            topic.wanted = None;
            match topic.state {
                Subscription::Off => {
                    self.dirty.swap_remove(&channel);
                    self.entries.remove(&channel);
                }
                Subscription::On => {
                    self.dirty.insert(channel);
                }
                Subscription::Asked | Subscription::Leaving => {}
            }
        }
    }

    /// Returns the next round of at most `size` channels. The previous round must be confirmed.
    pub(super) fn round(&mut self, size: usize) -> Round {
        let mut round = Round::default();
        let keep = self.dirty.len().saturating_sub(size);
        for channel in self.dirty.split_off(keep) {
            let Some(topic) = self.entries.get_mut(&channel) else { continue };
            match (topic.state, topic.wanted) {
                (Subscription::Off, Some(_)) => {
                    topic.state = Subscription::Asked;
                    self.asked += 1;
                    round.join.push(channel);
                }
                (Subscription::On, None) => {
                    topic.state = Subscription::Leaving;
                    round.leave.push(channel);
                }
                _ => {}
            }
        }
        round
    }

    /// Records the confirmation of a subscription. Returns the channel, if it is still wanted.
    pub(super) fn joined(&mut self, name: &str) -> Option<(Channel, Ticket)> {
        let channel = self.entries.get_key_value(name)?.0.clone();
        let topic = self.entries.get_mut(name)?;
        if topic.state == Subscription::Asked {
            self.asked -= 1;
        }
        topic.state = Subscription::On;
        let ticket = topic.wanted;
        if ticket.is_none() {
            self.dirty.insert(channel.clone());
        }
        ticket.map(|ticket| (channel, ticket))
    }

    /// Records the end of a subscription. Returns false if it was not requested: then messages may be missing.
    #[must_use]
    pub(super) fn left(&mut self, name: &str) -> bool {
        let Some(topic) = self.entries.get_mut(name) else { return true };
        let asked_for = topic.state == Subscription::Leaving;
        topic.state = Subscription::Off;
        if topic.wanted.is_none() {
            self.entries.remove(name);
        } else if let Some((channel, _)) = self.entries.get_key_value(name) {
            self.dirty.insert(channel.clone());
        }
        asked_for
    }

    /// Returns whether the channel is being unsubscribed, so that the end of its first topic is expected.
    #[must_use]
    pub(super) fn is_leaving(&self, name: &str) -> bool {
        self.entries.get(name).is_none_or(|topic| topic.state == Subscription::Leaving)
    }

    /// Returns whether every subscription of the round is confirmed.
    pub(super) fn all_joined(&self) -> bool {
        self.asked == 0
    }

    /// Returns the channel of a message, if it is subscribed and wanted.
    pub(super) fn heard(&self, name: &str) -> Option<&Channel> {
        let (channel, topic) = self.entries.get_key_value(name)?;
        (topic.state == Subscription::On && topic.wanted.is_some()).then_some(channel)
    }

    /// Clears all subscriptions after the connection was lost.
    pub(super) fn lost(&mut self) {
        self.asked = 0;
        self.dirty.clear();
        self.entries.retain(|_, topic| topic.wanted.is_some());
        for (channel, topic) in &mut self.entries {
            topic.state = Subscription::Off;
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

    fn confirm(topics: &mut Topics, round: &Round) -> Vec<(Channel, Ticket)> {
        round.leave.iter().for_each(|channel| assert!(topics.left(channel.as_str())));
        round.join.iter().filter_map(|channel| topics.joined(channel.as_str())).collect()
    }

    #[test]
    fn a_storm_of_follows_becomes_a_few_rounds() {
        let mut topics = Topics::default();
        for n in 0..10_000 {
            assert!(topics.follow(vec![(channel(n), 1)]).is_empty());
        }
        let mut rounds = 0;
        loop {
            let round = topics.round(1000);
            if round == Round::default() {
                break;
            }
            assert_eq!(confirm(&mut topics, &round).len(), 1000);
            rounds += 1;
        }
        assert_eq!(rounds, 10);
        assert!(topics.heard("c77").is_some() && topics.all_joined());
    }

    #[test]
    fn a_channel_followed_again_while_it_is_asked_for_has_the_newer_ticket() {
        let mut topics = Topics::default();
        topics.follow(vec![(channel(1), 1)]);
        let round = topics.round(10);
        topics.unfollow(vec![channel(1)]);
        assert!(topics.follow(vec![(channel(1), 2)]).is_empty());
        assert!(topics.heard("c1").is_none());
        assert_eq!(confirm(&mut topics, &round), [(channel(1), 2)]);
        assert_eq!(topics.round(10), Round::default());
    }

    #[test]
    fn a_channel_unfollowed_while_it_is_asked_for_is_left() {
        let mut topics = Topics::default();
        topics.follow(vec![(channel(1), 1)]);
        let round = topics.round(10);
        topics.unfollow(vec![channel(1)]);
        assert!(confirm(&mut topics, &round).is_empty());
        let round = topics.round(10);
        assert_eq!(round.leave, [channel(1)]);
        confirm(&mut topics, &round);
        assert!(topics.entries.is_empty() && topics.dirty.is_empty());
    }

    #[test]
    fn a_channel_followed_again_while_it_is_left_is_not_heard_before_it_is_confirmed_again() {
        let mut topics = Topics::default();
        topics.follow(vec![(channel(1), 1)]);
        let round = topics.round(10);
        confirm(&mut topics, &round);
        topics.unfollow(vec![channel(1)]);
        let leaving = topics.round(10);
        assert!(topics.follow(vec![(channel(1), 2)]).is_empty());
        assert!(topics.heard("c1").is_none());
        confirm(&mut topics, &leaving);
        let round = topics.round(10);
        assert_eq!(confirm(&mut topics, &round), [(channel(1), 2)]);
    }

    #[test]
    fn a_heard_channel_followed_again_is_confirmed_at_once() {
        let mut topics = Topics::default();
        topics.follow(vec![(channel(1), 1)]);
        let round = topics.round(10);
        confirm(&mut topics, &round);
        topics.unfollow(vec![channel(1)]);
        assert_eq!(topics.follow(vec![(channel(1), 2)]), [(channel(1), 2)]);
        assert_eq!(topics.round(10), Round::default());
    }

    #[test]
    fn a_lost_connection_forgets_what_is_not_wanted_and_asks_for_the_rest() {
        let mut topics = Topics::default();
        topics.follow((0..5).map(|n| (channel(n), 1)).collect());
        let round = topics.round(3);
        confirm(&mut topics, &round);
        let _ = topics.round(3);
        topics.unfollow(vec![channel(0), channel(4)]);
        topics.lost();
        let round = topics.round(10);
        assert_eq!((round.join.len(), round.leave.len()), (3, 0));
        assert_eq!(confirm(&mut topics, &round).len(), 3);
        assert!(topics.all_joined());
    }

    #[test]
    fn twenty_thousand_channels_left_at_once_are_left_in_full_rounds() {
        let mut topics = Topics::default();
        topics.follow((0..20_000).map(|n| (channel(n), 1)).collect());
        let mut rounds = 0;
        let mut work_off = |topics: &mut Topics| loop {
            let round = topics.round(1000);
            if round == Round::default() {
                return std::mem::take(&mut rounds);
            }
            confirm(topics, &round);
            rounds += 1;
        };
        assert_eq!(work_off(&mut topics), 20);
        for n in 0..20_000 {
            topics.unfollow(vec![channel(n)]);
        }
        assert_eq!(work_off(&mut topics), 20);
        assert!(topics.entries.is_empty());
    }
}
