//! The numbered events that one client received, and their faults.

use std::collections::BTreeSet;

use serde::Serialize;

/// One channel that a client follows.
#[derive(Debug)]
struct Following {
    channel: usize,
    /// The next expected number.
    next: u64,
    /// Earlier numbers that were not received. Bounded by the number of published events.
    missing: BTreeSet<u64>,
}

/// Faults in the events of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Accepted events that were never received.
    pub lost: u64,
    /// Events received more than once.
    pub duplicated: u64,
    /// Events received after a later one of their channel.
    pub out_of_order: u64,
}

impl Faults {
    /// Returns whether there are no faults.
    pub fn is_clean(self) -> bool {
        self == Self::default()
    }
}

/// The numbered events that one client received.
#[derive(Debug)]
pub struct ReceivedEvents {
    following: Vec<Following>,
    faults: Faults,
}

impl ReceivedEvents {
    /// Creates the record of a client that subscribes to these channels.
    pub fn new(channels: impl IntoIterator<Item = usize>) -> Self {
        let begin = |channel| Following { channel, next: 1, missing: BTreeSet::new() };
        Self { following: channels.into_iter().map(begin).collect(), faults: Faults::default() }
    }

    /// Records one event. Returns true if it is received for the first time; false also if its channel is not one of
    /// the client's.
    pub fn take(&mut self, channel: usize, number: u64) -> bool {
        let Some(following) = self.following.iter_mut().find(|following| following.channel == channel) else {
            return false;
        };
        if number >= following.next {
            following.missing.extend(following.next..number);
            following.next = number + 1;
            true
        } else if following.missing.remove(&number) {
            self.faults.out_of_order += 1;
            true
        } else {
            self.faults.duplicated += 1;
            false
        }
    }

    /// Returns the faults at the end of the run. `accepted` returns a channel's last accepted number.
    pub fn judge(&self, accepted: impl Fn(usize) -> u64) -> Faults {
        let lost = |following: &Following| {
            let accepted = accepted(following.channel);
            let missing = following.missing.range(..=accepted).count() as u64;
            missing + (accepted + 1).saturating_sub(following.next)
        };
        Faults { lost: self.following.iter().map(lost).sum(), ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(accepted: u64, numbers: &[u64]) -> Faults {
        let mut received = ReceivedEvents::new([1]);
        for number in numbers {
            received.take(1, *number);
        }
        received.judge(|channel| if channel == 1 { accepted } else { 0 })
    }

    #[test]
    fn every_fault_is_seen_and_only_faults() {
        let clean = Faults::default();
        assert_eq!(judged(3, &[1, 2, 3]), clean);
        assert_eq!(judged(3, &[1, 2, 3, 4]), clean, "stored, but the answer to the publisher was lost");
        assert_eq!(judged(3, &[1]), Faults { lost: 2, ..clean });
        assert_eq!(judged(3, &[2, 3]), Faults { lost: 1, ..clean });
        assert_eq!(judged(3, &[1, 2, 2, 3]), Faults { duplicated: 1, ..clean });
        assert_eq!(judged(3, &[1, 3, 2]), Faults { out_of_order: 1, ..clean });
        assert_eq!(judged(3, &[3, 2, 2]), Faults { lost: 1, duplicated: 1, out_of_order: 1 });
    }

    #[test]
    fn another_channel_is_none_of_its_business() {
        let mut received = ReceivedEvents::new([1]);
        assert!(!received.take(2, 1) && received.take(1, 1) && !received.take(1, 1));
    }
}
