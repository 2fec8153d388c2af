//! The lines of a TOML file that have the settings.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

/// Lines of a file, by the names of settings and groups.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<String, usize>);

impl Lines {
    /// Finds the lines of a file's names; none if the text is not TOML.
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            lines.collect("", table.get_ref(), text);
        }
        lines
    }

    /// Returns the line of a name, from 1.
    pub(crate) fn of_name(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }

    fn collect(&mut self, group: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let name = format!("{group}{}", key.get_ref());
            let before = text.as_bytes().iter().take(key.span().start);
            self.0.insert(name.clone(), 1 + before.filter(|byte| **byte == b'\n').count());
            if let DeValue::Table(table) = value.get_ref() {
                self.collect(&format!("{name}."), table, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_has_its_line() {
        let lines = Lines::of("# ü\n[a]\nb = 1\nc.d = 2\n\n[a.e]\n\"f\" = 3\n[[g.rules]]\nh = 1\n");
        let found = ["a", "a.b", "a.c.d", "a.e.f", "g.rules", "x"].map(|name| lines.of_name(name));
        assert_eq!(found, [Some(2), Some(3), Some(4), Some(7), Some(8), None]);
        assert_eq!(Lines::of("a = ").of_name("a"), None);
    }
}
