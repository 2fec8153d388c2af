//! The numbered events of a run.

use std::fmt::Write;
use std::time::Duration;

/// Their type.
pub const KIND: &str = "numbered";

/// One numbered event, as its data says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Which channel of the run.
    pub channel: usize,
    /// Which event of the channel, from 1.
    pub number: u64,
    /// When it was sent, or due, since the run began.
    pub sent: Duration,
}

impl Numbered {
    /// Returns the data, filled up to `size` bytes where there is room for more than a space.
    pub fn data(&self, size: usize) -> String {
        let mut data = String::with_capacity(size.max(32));
        // Writing into memory does not fail.
        let _ = write!(data, "{} {} {}", self.channel, self.number, self.sent.as_micros());
        if data.len() + 1 < size {
            data.push(' ');
            data.extend(std::iter::repeat_n('.', size - data.len()));
        }
        data
    }

    /// Reads such data; none if it is other.
    pub fn parse(data: &str) -> Option<Self> {
        let mut words = data.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (channel, event, sent) = (number()?, number()?, number()?);
        Some(Self {
            channel: usize::try_from(channel).ok()?,
            number: event,
            sent: Duration::from_micros(sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_and_has_its_size() {
        let event = Numbered { channel: 7, number: 42, sent: Duration::from_micros(99) };
        for (size, length) in [(0, 7), (8, 7), (9, 9), (100, 100)] {
            let data = event.data(size);
            assert_eq!((data.len(), Numbered::parse(&data)), (length, Some(event)), "{data:?}");
        }
        assert_eq!(Numbered::parse("x"), None);
    }
}
