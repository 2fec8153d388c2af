//! Faults of the configuration. All faults are reported at once.

use std::fmt;

use crate::value::Origin;

/// One fault of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name, or the unknown name that was found.
    pub setting: String,
    /// The value as it was written, if there is one that may be shown.
    pub value: Option<String>,
    /// The source of the value.
    pub origin: Origin,
    /// The problem.
    pub wrong: String,
    /// The values that are accepted.
    pub right: String,
}

/// All faults of a configuration; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " (from {})\n    {}\n    expected: {}", self.origin, self.wrong, self.right)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        let what = if faults.len() == 1 { "setting is" } else { "settings are" };
        write!(f, "{} {what} invalid:", faults.len())?;
        faults.iter().try_for_each(|fault| write!(f, "\n\n  {fault}"))
    }
}
