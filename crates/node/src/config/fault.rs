//! What is wrong with the settings, all of it.

use std::fmt;

use super::value::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name, or what was written in the place of one.
    pub setting: String,
    /// The value as it was written, if there is one and it may be shown.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

/// Everything that is wrong; at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " (from {})\n    {}\n    right: {}", self.origin, self.wrong, self.right)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        let what = if faults.len() == 1 { "setting is" } else { "settings are" };
        write!(f, "{} {what} wrong:", faults.len())?;
        faults.iter().try_for_each(|fault| write!(f, "\n\n  {fault}"))
    }
}
