//! What became of the items of a publish request.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fanfare_api::publish::{PublishResult, Published};
use fanfare_protocol::Channel;

use crate::audit::{Effect, trail};
use crate::http::problem::{Code, Problem};

/// What became of an item.
pub(super) enum Answer {
    /// An event for one channel.
    One(Channel, Result<Published, Problem>),
    /// An event for several.
    Each(Vec<Result<Published, Problem>>),
    /// Nothing was published.
    Refused(Problem),
}

impl Answer {
    /// Returns the response to a request of this item alone.
    ///
    /// # Errors
    ///
    /// Fails if nothing was published, with the reason.
    pub(super) fn alone(self) -> Result<Response, Problem> {
        match self {
            Self::One(channel, published) => {
                let published = published?;
                trail::note_effect(Effect { channel: Some(channel), ..Effect::default() });
                Ok(Json(published).into_response())
            }
            Self::Each(results) => {
                trail::note_effect(Effect { events: Some((results.len(), 0)), ..Effect::default() });
                Ok(Json(each(results)).into_response())
            }
            Self::Refused(problem) => Err(problem),
        }
    }

    /// Returns the number of events, and how many of them the token does not grant.
    fn counts(&self) -> (usize, usize) {
        match self {
            Self::One(..) => (1, 0),
            Self::Each(results) => (results.len(), 0),
            Self::Refused(problem) => (1, usize::from(problem.code == Code::NoGrant)),
        }
    }

    fn of_item(self, index: usize) -> PublishResult {
        let result = |result: Result<_, Problem>| match result {
            Ok(published) => PublishResult::Published(published),
            Err(problem) => PublishResult::Refused { error: problem.of_item(index).details() },
        };
        match self {
            Self::One(_, published) => result(published),
            Self::Refused(problem) => result(Err(problem)),
            Self::Each(results) => each(results),
        }
    }
}

fn each(results: Vec<Result<Published, Problem>>) -> PublishResult {
    let result = |(index, result): (usize, Result<_, Problem>)| match result {
        Ok(published) => PublishResult::Published(published),
        Err(problem) => PublishResult::Refused { error: problem.of_channel(index).details() },
    };
    PublishResult::Each { results: results.into_iter().enumerate().map(result).collect() }
}

/// Returns the response to a batch.
pub(super) fn of_batch(answers: Vec<Answer>) -> Response {
    let counts = answers.iter().map(Answer::counts);
    let events = counts.fold((0, 0), |(events, refused), (has, lacks)| (events + has, refused + lacks));
    trail::note_effect(Effect { events: Some(events), ..Effect::default() });
    let results = answers.into_iter().enumerate().map(|(index, answer)| answer.of_item(index));
    Json(results.collect::<Vec<_>>()).into_response()
}
