//! A client of a Fanfare cluster: calls of the HTTP API, and streams that reconnect.
//!
//! # Layout
//!
//! - [`api_client`]: the calls of the HTTP API
//! - [`finite`]: the calls about finite streams
//! - [`event_source`]: a stream that reconnects and resumes
//! - [`stream_probe`]: a stream whose bytes are timed
//! - [`stream_request`]: what a stream follows, and where it starts
//! - [`message`]: published events and control events of a stream
//! - [`token`]: the token of requests
//! - [`error`]: failed calls and streams

pub mod api_client;
pub mod error;
pub mod event_source;
pub mod finite;
pub mod message;
pub mod stream_probe;
pub mod stream_request;
pub mod token;

pub use api_client::{ApiClient, ClientSettings};
pub use error::Error;
pub use event_source::{EventSource, Step};
pub use message::{Event, Message};
pub use stream_probe::StreamProbe;
pub use stream_request::StreamRequest;
pub use token::Token;
