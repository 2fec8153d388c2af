//! Where a stream starts.

use crate::cursor::CursorError;
use crate::{Channel, Cursor, Position};

/// The start of a stream, as requested with `Last-Event-ID` or `after=`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// New events only.
    #[default]
    Latest,
    /// From the oldest event in the log.
    Earliest,
    /// After this time, in Unix milliseconds.
    Time(u64),
    /// After the cursor of an earlier stream.
    Cursor(Cursor),
    /// After what was acknowledged; as [`Self::Latest`] in a channel without acknowledged events.
    Acked,
}

/// The start of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartAt {
    /// After this position, which the client has received: a missing event after it is a gap.
    Position(Position),
    /// After this position, which was the newest event's a moment ago: there is little to read, if anything.
    Tip(Position),
    /// After this point in time. The log determines whether events are missing.
    Time(Position),
    /// After the newest event.
    Latest,
    /// Before the oldest event in the log.
    Earliest,
    /// Before this number of newest events.
    Newest(usize),
}

impl Start {
    /// Parses `latest`, `earliest`, `acked`, a time in Unix milliseconds, or a cursor.
    ///
    /// # Errors
    ///
    /// Fails if it is none of them.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        match text {
            "latest" => Ok(Self::Latest),
            "earliest" => Ok(Self::Earliest),
            "acked" => Ok(Self::Acked),
            _ => match crate::position::number(text.as_bytes()) {
                Ok(ms) => Ok(Self::Time(ms)),
                Err(_) => Cursor::parse(text).map(Self::Cursor),
            },
        }
    }

    /// Returns where to begin in one of `followed` channels. `newest` is what `last=` asked for: it serves the
    /// channels for which there is no position.
    ///
    /// A plain position is exact in the only channel of a stream, and in `broadcast`: since that is joined by all, a
    /// stream of one channel that grew to several was one of `broadcast`. In other channels it is a point in time,
    /// since nothing says whose it was.
    pub fn in_channel(&self, channel: &Channel, followed: usize, newest: Option<usize>) -> StartAt {
        let fresh = newest.map_or(StartAt::Latest, StartAt::Newest);
        match self {
            Self::Latest | Self::Acked => fresh,
            Self::Earliest => StartAt::Earliest,
            Self::Time(ms) => StartAt::Time(Position::new(*ms, u64::MAX)),
            Self::Cursor(Cursor::One(position)) if followed == 1 || *channel == Channel::broadcast() => {
                StartAt::Position(*position)
            }
            Self::Cursor(Cursor::One(position)) => StartAt::Time(*position),
            Self::Cursor(cursor) => cursor.position_in(channel).map_or(fresh, StartAt::Position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_recognized() {
        assert_eq!(Start::parse("latest"), Ok(Start::Latest));
        assert_eq!(Start::parse("earliest"), Ok(Start::Earliest));
        assert_eq!(Start::parse("acked"), Ok(Start::Acked));
        assert_eq!(Start::parse("1718031234567"), Ok(Start::Time(1_718_031_234_567)));
        assert_eq!(Start::parse("17-3"), Ok(Start::Cursor(Cursor::One(Position::new(17, 3)))));
        for bad in ["", "newest", "12x", "-1", "1.5", "99999999999999999999999"] {
            assert!(Start::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_channel_new_to_the_cursor_starts_fresh() {
        let (old, new) = (Channel::new("a").unwrap(), Channel::new("b").unwrap());
        let start = Start::Cursor(Cursor::Many(vec![(old.tag(), Position::new(5, 1))]));
        assert_eq!(start.in_channel(&old, 2, Some(3)), StartAt::Position(Position::new(5, 1)));
        assert_eq!(start.in_channel(&new, 2, Some(3)), StartAt::Newest(3));
        assert_eq!(start.in_channel(&new, 2, None), StartAt::Latest);
    }

    #[test]
    fn a_plain_position_is_exact_where_it_can_only_have_been_the_clients() {
        let start = Start::parse("17-3").unwrap();
        let (room, position) = (Channel::new("room:1").unwrap(), Position::new(17, 3));
        assert_eq!(start.in_channel(&room, 1, None), StartAt::Position(position));
        assert_eq!(start.in_channel(&room, 2, None), StartAt::Time(position));
        assert_eq!(start.in_channel(&Channel::broadcast(), 2, None), StartAt::Position(position));
    }
}
