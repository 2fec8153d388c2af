//! Schemas of what is not a type of `fanfare-api`.

use serde_json::{Value, json};

/// The name of a channel.
pub(super) fn channel() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 255, "examples": ["room:7"] })
}

/// The id of a user.
pub(super) fn user() -> Value {
    json!({ "type": "string", "minLength": 1, "examples": ["42"] })
}

/// The id of a session.
pub(super) fn session() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// The name of a device.
pub(super) fn device() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
}

/// The position of an event in its channel's log.
pub(super) fn position() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+-[0-9]+$", "examples": ["1718031234567-3"] })
}

/// A text.
pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// A whole number in a range.
pub(super) fn number(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}
