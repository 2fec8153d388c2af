//! Who acknowledges the events of a user: a device, or a session.

use std::fmt;
use std::str::FromStr;

use crate::SessionId;

/// Maximum length of the name of a device, in bytes.
pub const MAX_DEVICE_BYTES: usize = 64;
/// Characters allowed in the name of a device besides ASCII letters and digits.
const DEVICE_PUNCTUATION: &str = "-_.";

/// Name of a device, chosen by the app: whatever uses the same name for the same user shares one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(Box<str>);

/// A text that is not the name of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a device has 1 to {MAX_DEVICE_BYTES} characters: ASCII letters, digits and {DEVICE_PUNCTUATION}"
)]
pub struct DeviceNameError;

impl FromStr for DeviceName {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || DEVICE_PUNCTUATION.contains(c);
        if text.is_empty() || text.len() > MAX_DEVICE_BYTES || !text.chars().all(allowed) {
            return Err(DeviceNameError);
        }
        Ok(Self(text.into()))
    }
}

/// One of the places at which a user reads: it has an acknowledged cursor of its own.
///
/// Displays as `device:<name>` or `session:<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reader {
    /// A device, under a name that the app chose.
    Device(DeviceName),
    /// A session.
    Session(SessionId),
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "device:{}", name.0),
            Self::Session(session) => write!(f, "session:{session}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_devices_are_short_and_plain() {
        for good in ["a", "phone-1", "A.b_c", &"x".repeat(64)] {
            assert_eq!(Reader::Device(good.parse().unwrap()).to_string(), format!("device:{good}"));
        }
        for bad in ["", "a b", "a:b", "ü", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<DeviceName>(), Err(DeviceNameError), "{bad:?}");
        }
    }
}
