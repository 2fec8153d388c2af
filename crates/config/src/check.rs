//! Collects what the checks of the topics find.

use std::collections::HashMap;
use std::path::Path;

use crate::fault::Fault;
use crate::secret::Secret;
use crate::setting::Setting;
use crate::source::Given;
use crate::value::Origin;

/// Collects the faults.
pub(crate) struct Checks<'a> {
    /// The settings that a source sets.
    pub(crate) given: &'a HashMap<&'static str, Given>,
    /// The faults found so far.
    pub(crate) faults: &'a mut Vec<Fault>,
}

impl Checks<'_> {
    /// Records a fault of the first setting unless `holds`.
    pub(crate) fn hold(&mut self, holds: bool, settings: &[&'static str], wrong: &str, right: &str) {
        if !holds {
            self.fail(settings, wrong, right);
        }
    }

    /// Records a fault of the first setting. Skips it when one of the settings has a fault: its default may be in its
    /// place then, and a conflict with the default is not a fault of the configuration.
    pub(crate) fn fail(&mut self, settings: &[&'static str], wrong: &str, right: &str) {
        let has_fault = |name: &&str| self.faults.iter().any(|fault| fault.setting == **name);
        if settings.iter().any(has_fault) {
            return;
        }
        // Report the setting that was set explicitly, not one that has its default.
        let name = settings.iter().find(|name| self.given.contains_key(*name)).unwrap_or(&settings[0]);
        let given = self.given.get(name);
        let default = Setting::named(name).map(|setting| setting.default).filter(|text| !text.is_empty());
        self.faults.push(Fault {
            setting: (*name).to_owned(),
            value: given.map(Given::show).or_else(|| default.map(str::to_owned)),
            origin: given.map_or(Origin::Default, |given| given.origin.clone()),
            wrong: wrong.to_owned(),
            right: right.to_owned(),
        });
    }

    /// Reads a secret from the file that a setting names. Returns `None`, and records a fault, if the file cannot be
    /// used.
    pub(crate) fn secret_in(&mut self, name: &'static str, file: &Path) -> Option<Secret> {
        match std::fs::read_to_string(file) {
            // As a part of the secret it would make every token's signature wrong.
            Ok(text) if text.starts_with('\u{feff}') => self.fail(
                &[name],
                "begins with a byte order mark (the bytes EF BB BF)",
                "a file that contains only the secret",
            ),
            Ok(text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                return Some(Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned()));
            }
            Err(error) => self.fail(
                &[name],
                &format!("cannot be read: {error}"),
                "a text file that this process may read",
            ),
        }
        None
    }
}
