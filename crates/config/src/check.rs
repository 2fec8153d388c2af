//! Collects what the checks of the topics find.

use std::collections::HashMap;
use std::path::Path;

use fanfare_auth::secret;

use crate::fault::Fault;
use crate::secret::Secret;
use crate::setting::Setting;
use crate::source::Given;
use crate::value::Origin;

/// The accepted form of a file with a secret.
pub(crate) const SECRET_FILE: &str =
    "a text file that contains only the secret and that this process may read";

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

    /// Returns whether a source sets the setting.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Reads a secret from the file that a setting names. Returns `None`, and records a fault, if the file cannot be
    /// used.
    pub(crate) fn secret_in(&mut self, name: &'static str, file: &Path) -> Option<Secret> {
        match secret::read(file) {
            Ok(text) => return Some(Secret::new(text)),
            Err(error) => self.fail(&[name], &error.to_string(), SECRET_FILE),
        }
        None
    }

    /// Records a fault of an entry of a list, of which several entries may have faults.
    pub(crate) fn fail_in_list(&mut self, name: &'static str, wrong: &str, right: &str) {
        let given = self.given.get(name);
        self.faults.push(Fault {
            setting: name.to_owned(),
            value: given.map(Given::show),
            origin: given.map_or(Origin::Default, |given| given.origin.clone()),
            wrong: wrong.to_owned(),
            right: right.to_owned(),
        });
    }
}
