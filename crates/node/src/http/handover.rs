//! How a connection leaves HTTP for the hub.
//!
//! The handler of a stream answers with a response that carries the stream in an extension. Whoever serves the
//! connection takes it out, takes the socket from hyper, and gives both to the hub.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::stream::Stream;

/// A stream on its way to the hub. Can be taken once; one that is never taken gives its claim up when it is dropped.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Parcel>>>);

/// What is handed over.
#[derive(Debug)]
pub struct Parcel {
    /// The stream; its head and framing are still to be filled in.
    pub stream: Stream,
    /// Counts it until the hub does.
    pub opening: Opening,
}

impl Handover {
    /// Wraps it up.
    pub fn new(parcel: Parcel) -> Self {
        Self(Arc::new(Mutex::new(Some(parcel))))
    }

    /// Takes it out.
    pub fn take(&self) -> Option<Parcel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How many streams were let in and are not with the hub yet.
#[derive(Clone, Debug, Default)]
pub struct Openings(TaskTracker);

/// One of them. Ends when it is dropped.
#[derive(Debug)]
pub struct Opening {
    _token: TaskTrackerToken,
}

impl Openings {
    /// Lets another one in, if that makes at most `room`.
    pub fn enter(&self, room: usize) -> Option<Opening> {
        // Counted first and looked at then, so that two at a time do not both take the last place.
        let opening = Opening { _token: self.0.token() };
        (self.0.len() <= room).then_some(opening)
    }

    /// Waits until all of them are with the hub or gone. Nobody may be let in any more.
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
