//! The publisher's side: events go in without waiting, answers are counted when they come.
//!
//! # Layout
//!
//! - `link`: one connection
//! - `requests`: HTTP, several connections with one request each
//! - `pipeline`: Redis, one connection with any number of commands; `reply`: where its replies end

mod link;
mod pipeline;
mod reply;
mod requests;

use std::io;

use mio::event::Event;
use mio::{Registry, Token};

use self::pipeline::Pipeline;
use self::requests::Requests;
use super::endpoint::Way;

/// What became of what was published.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Events that the server took.
    pub(super) accepted: u64,
    /// Events that it did not take.
    pub(super) refused: u64,
    /// What it said to the last of them.
    pub(super) why: Option<String>,
}

impl Answers {
    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.why = Some(why);
    }
}

/// The way in.
#[derive(Debug)]
pub(super) enum Publisher {
    /// Over HTTP.
    Requests(Requests),
    /// Into Redis.
    Pipeline(Pipeline),
}

impl Publisher {
    /// Connects. Its tokens are `first` and those after it. `connections` is how many requests may be under way.
    ///
    /// # Errors
    ///
    /// Fails if the connection cannot be made.
    pub(super) fn open(way: &Way, connections: usize, first: usize, registry: &Registry) -> io::Result<Self> {
        Ok(match way {
            Way::Http { address, .. } => {
                Self::Requests(Requests::open(*address, connections, first, registry)?)
            }
            Way::Redis { address, .. } => Self::Pipeline(Pipeline::open(*address, Token(first), registry)?),
        })
    }

    /// Returns whether another event can be sent now.
    pub(super) fn is_free(&self) -> bool {
        match self {
            Self::Requests(requests) => requests.is_free(),
            Self::Pipeline(pipeline) => pipeline.is_free(),
        }
    }

    /// Sends one event, or lays it by for [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Requests(requests) => requests.send(bytes),
            Self::Pipeline(pipeline) => {
                pipeline.send(bytes);
                Ok(())
            }
        }
    }

    /// Sends what was laid by.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Requests(_) => Ok(()),
            Self::Pipeline(pipeline) => pipeline.flush(),
        }
    }

    /// Something can be done.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone, or what came makes no sense.
    pub(super) fn on(&mut self, event: &Event, buffer: &mut [u8], answers: &mut Answers) -> io::Result<()> {
        match self {
            Self::Requests(requests) => requests.on(event, buffer, answers),
            Self::Pipeline(pipeline) => pipeline.on(event, buffer, answers),
        }
    }
}
