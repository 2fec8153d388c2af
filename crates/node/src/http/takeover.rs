//! A stream takes its socket over from HTTP.
//!
//! The handler of a stream returns a response with the stream in an extension. The listener takes the stream from the
//! response and the socket from its HTTP connection, and passes both to the hub.

use std::sync::{Arc, Mutex, PoisonError};

use fanfare_hub::stream::NewStream;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::attempt::{Attempt, Outcome};

/// The extension of a response: a new stream that waits for its socket. Can be taken once; if it is never taken, its
/// claim is released when it is dropped.
#[derive(Clone, Debug)]
pub struct Takeover(Arc<Mutex<Option<(NewStream, Admission)>>>);

impl Takeover {
    /// Creates the takeover of an admitted stream.
    pub fn new(stream: NewStream, admission: Admission) -> Self {
        Self(Arc::new(Mutex::new(Some((stream, admission)))))
    }

    /// Lets the request have its outcome once the hub has the stream, or once this is dropped.
    pub fn carry(&self, attempt: Attempt) {
        if let Some((_, admission)) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            admission.attempt = Some(attempt);
        }
    }

    /// Takes the stream. The hub counts it once it has it; the admission counts it until then.
    pub fn take(&self) -> Option<(NewStream, Admission)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Counter of admitted streams that the hub does not have yet.
#[derive(Clone, Debug, Default)]
pub struct Admissions(TaskTracker);

/// One counted stream. Uncounted when it is dropped.
#[derive(Debug)]
pub struct Admission {
    _token: TaskTrackerToken,
    attempt: Option<Attempt>,
}

impl Admission {
    /// Ends the admission: the hub has the stream, and counts it from here on.
    pub fn opened(mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.end(Outcome::Opened);
        }
    }
}

impl Admissions {
    /// Counts another stream, unless there would be more than `room`.
    pub fn enter(&self, room: usize) -> Option<Admission> {
        // Count first and compare afterwards, so that two concurrent calls cannot both take the last place.
        let admission = Admission { _token: self.0.token(), attempt: None };
        (self.0.len() <= room).then_some(admission)
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
        let admissions = Admissions::default();
        let (first, second) = (admissions.enter(2), admissions.enter(2));
        assert!(first.is_some() && second.is_some());
        assert!(admissions.enter(2).is_none());
        drop(first);
        assert!(admissions.enter(2).is_some());
        assert!(admissions.enter(0).is_none());
    }
}
