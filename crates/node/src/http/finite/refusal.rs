//! Error responses, which may say where the stream ends.

use axum::response::{IntoResponse, Response};
use fanfare_broker::BrokerError;
use fanfare_broker::forks::ForkRefusal;
use fanfare_broker::stream_store::StreamTail;
use http::header::HeaderName;

use super::fields;
use crate::finite::reader::ReadError;
use crate::finite::readers::Full;
use crate::http::problem::{Code, Problem};
use crate::memory::NoRoom;
use crate::rates::RateLimited;

/// An error response with headers.
#[derive(Debug)]
pub struct Refusal {
    problem: Problem,
    tail: Option<Box<StreamTail>>,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    /// Creates a refusal without headers.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// Says where the stream ends.
    #[must_use]
    pub(super) fn at(mut self, tail: Option<StreamTail>) -> Self {
        self.tail = tail.map(Box::new);
        self
    }

    /// Says where the stream ends, unless that is known.
    #[must_use]
    pub(super) fn or_at(self, tail: Option<StreamTail>) -> Self {
        if self.tail.is_some() { self } else { self.at(tail) }
    }

    /// Adds a header.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: u64) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// There is no such stream.
    pub(super) fn missing() -> Self {
        Self::new(Code::NotFound, "there is no stream with this name; create it with PUT")
    }

    /// The stream was deleted, and has forks.
    pub(super) fn deleted() -> Self {
        Self::new(Code::Gone, "the stream was deleted; its name is free when its last fork is gone")
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, tail: None, headers: Vec::new() }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        Problem::from(error).into()
    }
}

impl From<RateLimited> for Refusal {
    fn from(limited: RateLimited) -> Self {
        Problem::from(limited).into()
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        Problem::from(no_room).into()
    }
}

impl From<Full> for Refusal {
    fn from(Full: Full) -> Self {
        let detail = "this node has limits.connections live readers of finite streams";
        Problem::new(Code::Overloaded, detail).into()
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing => Self::missing(),
            ReadError::Deleted => Self::deleted(),
            ReadError::Gone => Self::new(
                Code::Gone,
                "the offset is not a place of this stream: it was deleted and created again, or Redis lost bytes; read from -1",
            ),
            ReadError::Within => {
                Problem::bad_request("the offset is within a message; use the text of a Stream-Next-Offset")
                    .into()
            }
            ReadError::Busy => Self::new(
                Code::Busy,
                "too many readers have messages of more than finite.page bytes; try again",
            ),
            ReadError::Broker(error) => error.into(),
        }
    }
}

impl From<ForkRefusal> for Refusal {
    fn from(refusal: ForkRefusal) -> Self {
        let (code, detail) = match refusal {
            ForkRefusal::NoSource => {
                (Code::NotFound, "there is no stream with the name in Stream-Forked-From")
            }
            ForkRefusal::SourceDeleted => {
                (Code::StreamConflict, "the stream in Stream-Forked-From was deleted")
            }
            ForkRefusal::Type => {
                (Code::StreamConflict, "the stream in Stream-Forked-From has another media type")
            }
            ForkRefusal::Place => (
                Code::BadRequest,
                "Stream-Fork-Offset and Stream-Fork-Sub-Offset are not a place of the source",
            ),
            ForkRefusal::Many => {
                (Code::StreamConflict, "the stream in Stream-Forked-From has finite.forks forks")
            }
            ForkRefusal::Large => {
                (Code::TooLarge, "the stream would have more than finite.stream_bytes bytes")
            }
            ForkRefusal::Changed => {
                (Code::StreamConflict, "the stream in Stream-Forked-From was replaced meanwhile; try again")
            }
        };
        Self::new(code, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Some(tail) = &self.tail {
            fields::set_tail(&mut response, tail);
        }
        for (name, value) in self.headers {
            fields::set(&mut response, name, value);
        }
        response
    }
}
