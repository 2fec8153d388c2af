//! What reads of logs will find that no page was read of yet.
//!
//! Plain commands can tell that a log has nothing new, and others can read one event or two. Which to send first makes a
//! difference: the wrong ones cost another round trip. After a moment's absence, most clients have missed nothing; after a
//! lost subscriber connection, or when a crowd comes back after minutes, each has missed something. What the reads before
//! found decides.

/// Weight of a read that found nothing. Asking for events first is worth it until two reads of three find none: it costs
/// one command if there is one event and four if there is none, and asking for the end first costs three or four.
const EMPTY: i8 = 1;
/// Weight of a read that found something.
const FOUND: i8 = 2;
/// Bound of the sum, so that the forecast follows a change within a few reads.
const MOST: i8 = 16;

/// A forecast from the results of earlier reads.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// Sum of the weights: above 0, reads have found something more often than not.
    sum: i8,
}

impl Forecast {
    /// Returns whether the next read will probably find nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sum <= 0
    }

    /// Takes the result of a read into account.
    pub(super) fn record(&mut self, found: bool) {
        let weight = if found { FOUND } else { -EMPTY };
        self.sum = (self.sum + weight).clamp(-MOST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reads: impl IntoIterator<Item = bool>) -> Forecast {
        let mut forecast = Forecast::default();
        reads.into_iter().for_each(|found| forecast.record(found));
        forecast
    }

    #[test]
    fn it_follows_the_reads() {
        assert!(after([]).is_empty());
        assert!(after([false; 1000]).is_empty());
        assert!(!after([true; 1000]).is_empty());
    }

    #[test]
    fn a_change_is_noticed_within_sixteen_reads() {
        let change = |from: bool, reads: usize| {
            after([from; 1000].into_iter().chain(std::iter::repeat_n(!from, reads)))
        };
        assert!(!change(false, 9).is_empty());
        assert!(change(true, 16).is_empty());
    }

    #[test]
    fn asking_for_the_end_is_worth_it_when_two_of_three_reads_find_nothing() {
        assert!(after([true, false, false].repeat(100)).is_empty());
        assert!(!after([false, true].repeat(100)).is_empty());
    }
}
