//! The pure types of Fanfare: channels, events, positions, cursors and their text forms.
//!
//! No I/O, no Redis and no async runtime.
//!
//! # Layout
//!
//! In the order in which an event passes through them:
//!
//! - [`channel`]: channel names, users, and patterns that match names
//! - [`event`]: type and data of an event, and their limits; [`except`]: the session that does not get it
//! - [`trace_parent`]: the trace that an event belongs to
//! - [`json`]: JSON text that passes through unchanged
//! - [`publish`]: the body of a publish request
//! - [`position`]: the place of a stored event in its channel's log
//! - [`entry`]: an event with its position and the position before it
//! - [`wire`]: the messages of live topics
//! - [`sse`]: the text that a client receives
//! - [`cursor`]: the client's positions, with which it resumes a stream
//! - [`start`]: where a stream starts
//! - [`grants`]: permissions of a token; [`rights`]: those beyond channels
//! - [`revocation`]: revocation of tokens
//! - [`reader`]: who acknowledges events
//! - [`session`]: session ids, and control messages between nodes
//! - [`ticket`]: one-time credentials of streams
//! - [`finite`]: finite streams, which have an end

pub mod channel;
pub mod cursor;
pub mod entry;
pub mod event;
pub mod except;
pub mod finite;
pub mod grants;
pub mod json;
pub mod position;
pub mod publish;
pub mod reader;
pub mod revocation;
pub mod rights;
pub mod session;
pub mod sse;
pub mod start;
pub mod ticket;
pub mod trace_parent;
pub mod wire;

pub use channel::{Channel, Pattern, User};
pub use cursor::Cursor;
pub use entry::Entry;
pub use event::{Event, EventType};
pub use except::Except;
pub use grants::Grants;
pub use position::Position;
pub use session::{SessionId, SessionKey};
pub use start::Start;
pub use trace_parent::TraceParent;
