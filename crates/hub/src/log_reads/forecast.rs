//! What reads of logs will find that no page was read of yet.
//!
//! Whether a log has nothing new is cheap to ask, and reading one that has is not. Asking first saves most of the work
//! when clients come back after a moment, and costs another round trip when each has missed something: after a lost
//! subscriber connection, or when a crowd comes back after minutes. What the reads before found decides.

/// Weight of a read that found nothing. Asking first is taken to cost a third of a read, so it is worth it until two reads
/// of three find something.
const EMPTY: i8 = 2;
/// Weight of a read that found something.
const FOUND: i8 = 1;
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
    fn a_change_is_noticed_within_seventeen_reads() {
        let change = |from: bool, reads: usize| {
            after([from; 1000].into_iter().chain(std::iter::repeat_n(!from, reads)))
        };
        assert!(!change(false, 17).is_empty());
        assert!(change(true, 8).is_empty());
    }

    #[test]
    fn asking_first_is_worth_it_when_half_of_the_reads_find_nothing() {
        assert!(after([true, false].repeat(100)).is_empty());
        assert!(!after([true, true, true, true, false].repeat(100)).is_empty());
    }
}
