//! Transfers a stream's socket from HTTP to the hub.
//!
//! The handler of a stream returns a response with the stream in an extension. The listener takes it, takes the
//! socket from hyper, and passes both to the hub.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::stream::Stream;

/// A stream on its way to the hub. Can be taken once; if it is never taken, its claim is released when it is dropped.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Parcel>>>);

/// The stream and its counter.
#[derive(Debug)]
pub struct Parcel {
    /// The stream; the listener sets its head and framing.
    pub stream: Stream,
    /// Counts the stream until the hub counts it.
    pub opening: Opening,
}

impl Handover {
    /// Creates a hand-over.
    pub fn new(parcel: Parcel) -> Self {
        Self(Arc::new(Mutex::new(Some(parcel))))
    }

    /// Takes the stream.
    pub fn take(&self) -> Option<Parcel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Counter of admitted streams that the hub does not have yet.
#[derive(Clone, Debug, Default)]
pub struct Openings(TaskTracker);

/// One counted stream. Uncounted when it is dropped.
#[derive(Debug)]
pub struct Opening {
    _token: TaskTrackerToken,
}

impl Openings {
    /// Counts another stream, unless there would be more than `room`.
    pub fn enter(&self, room: usize) -> Option<Opening> {
        // Count first and compare afterwards, so that two concurrent calls cannot both take the last place.
        let opening = Opening { _token: self.0.token() };
        (self.0.len() <= room).then_some(opening)
    }

    /// Waits until the hub has all streams or they are dropped. No further stream may be admitted.
    pub async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_one_has_gone() {
        let openings = Openings::default();
        let (first, second) = (openings.enter(2), openings.enter(2));
        assert!(first.is_some() && second.is_some());
        assert!(openings.enter(2).is_none());
        drop(first);
        assert!(openings.enter(2).is_some());
        assert!(openings.enter(0).is_none());
    }
}
