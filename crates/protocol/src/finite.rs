//! Finite streams: bytes that one producer appends, with an end that is stored.
//!
//! The types of the Durable Streams protocol, version 1.0. A stream is a name below `/v1/stream/`, a media type that does not
//! change, and bytes. It is open until it is closed, and closed for ever then.
//!
//! # Layout
//!
//! - [`name`]: names of streams
//! - [`media_type`]: what the bytes are: JSON messages, text, or bytes
//! - [`messages`]: JSON messages, as they are stored and as they are read
//! - [`life`]: how long a stream is kept; [`lease`]: how long its producer may be silent
//! - [`producer`]: numbers by which a producer's repeated appends are recognized
//! - [`end`]: how a stream ended
//! - [`offset`]: places in a stream; [`generations`]: which of them are still valid
//! - [`wire`]: the messages that wake readers
//! - [`cut`]: where a page may end
//! - [`sse`]: the text of a live reader; [`read_cursor`]: what keeps caches from a loop

pub mod cut;
pub mod end;
pub mod generations;
pub mod lease;
pub mod life;
pub mod media_type;
pub mod messages;
pub mod name;
pub mod offset;
pub mod producer;
pub mod read_cursor;
pub mod sse;
pub mod wire;

pub use end::{End, EndKind};
pub use generations::Generations;
pub use lease::Lease;
pub use life::Life;
pub use media_type::{Form, MediaType};
pub use name::StreamName;
pub use offset::{Offset, ReadFrom};
pub use producer::Producer;
