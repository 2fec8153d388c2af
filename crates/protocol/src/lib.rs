//! The pure types of Fanfare: what an event is, where it stands, and how it is written down.
//!
//! Nothing here does I/O, knows Redis or needs a runtime.
//!
//! # Layout
//!
//! In the order an event passes them:
//!
//! - [`channel`]: the name events are routed by, and the patterns that match names
//! - [`event`]: type and data, and what may be in them
//! - [`json`]: JSON text that passes through unchanged
//! - [`publish`]: the JSON a publisher sends
//! - [`position`]: where a kept event stands in its channel's log
//! - [`entry`]: an event with its position and the position before it
//! - [`wire`]: the text a live wire carries
//! - [`sse`]: the text a client receives
//! - [`cursor`]: the positions a client sends back to go on where it was
//! - [`start`]: every way of saying where a stream begins
//! - [`grants`]: what a token lets its bearer do
//! - [`session`]: who is connected, and the words nodes send each other about it

pub mod channel;
pub mod cursor;
pub mod entry;
pub mod event;
pub mod grants;
pub mod json;
pub mod position;
pub mod publish;
pub mod session;
pub mod sse;
pub mod start;
pub mod wire;

pub use channel::{Channel, Pattern, User};
pub use cursor::Cursor;
pub use entry::Entry;
pub use event::{Event, EventType};
pub use grants::Grants;
pub use position::Position;
pub use session::{SessionId, SessionKey};
pub use start::Start;
