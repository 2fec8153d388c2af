//! What a library handed to its program.

use serde::Deserialize;
use serde_json::Value;

/// One line that a program printed.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: Option<String>,
    data: Option<String>,
}

/// A message, by what its data says; its type must be the one that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The next event of a channel.
    Numbered { channel: String, number: u64 },
    /// An ephemeral event.
    Typing { scene: String },
    /// `connected`.
    Connected { session: String },
    /// `overloaded`, from a node or the balancer.
    Overloaded,
    /// `gap`.
    Gap { channel: String },
    /// The last word of a stream.
    Ending,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// When it is no message of these: an empty one, above all, or one whose data is not whole.
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("{why}: {line}");
        let Line { kind, data } = serde_json::from_str(line).map_err(|e| wrong(&e))?;
        let data = data.unwrap_or_default();
        let data: Value =
            serde_json::from_str(&data).map_err(|e| wrong(&format!("its data is not JSON: {e}")))?;
        let text = |name: &str| data[name].as_str().map(ToOwned::to_owned);
        let (message, name) = if let (Some(channel), Some(number)) = (text("channel"), data["n"].as_u64()) {
            let name = if channel == "broadcast" { "message" } else { "note" };
            (Self::Numbered { channel, number }, name)
        } else if let Some(scene) = text("typing") {
            (Self::Typing { scene }, "typing")
        } else if let (Some(session), Some(_)) = (text("session"), text("cursor")) {
            (Self::Connected { session }, "connected")
        } else if let (Some(channel), Some(_)) = (text("channel"), text("after")) {
            (Self::Gap { channel }, "gap")
        } else if text("reason").is_some() {
            (Self::Overloaded, "overloaded")
        } else if text("node").is_some() {
            (Self::Ending, "shutdown")
        } else {
            return Err(wrong(&"an unknown message"));
        };
        let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "message".to_owned());
        if kind == name { Ok(message) } else { Err(wrong(&format!("not of type {name}"))) }
    }
}
