//! A file with all settings and their defaults, as comments.

use crate::settings;

/// Maximum width of a comment, in characters.
const WIDTH: usize = 100;

/// The beginning of the file.
const HEAD: &str = "\
# Settings of a Fanfare node: all of them, with their defaults. To change one, remove the # in front
# of its name. `fanfare config check FILE` checks a file, and `fanfare config --schema` prints the
# JSON Schema for editors. An environment variable overrides the file, and a flag overrides both.
";

/// Returns the file. Each setting is a comment, so that a default that changes in a later version applies.
pub fn example() -> String {
    let mut file = HEAD.to_owned();
    let mut last = "";
    for setting in settings() {
        let (group, name) = setting.place();
        if group != last {
            last = group;
            file.extend(["\n[", group, "]\n"]);
        }
        file.push('\n');
        comment(&mut file, setting.meaning());
        comment(&mut file, &format!("Expected: {}.{}", (setting.right)(), setting.limits()));
        comment(&mut file, &format!("Environment: {}", setting.variable()));
        // What JSON writes for texts, numbers, booleans and lists of texts is TOML.
        let default = setting.default_in_file().map(|default| format!(" {default}")).unwrap_or_default();
        file.extend(["#", name, " =", &default, "\n"]);
    }
    file
}

/// Returns the file with the defaults set.
#[cfg(test)]
pub(crate) fn with_defaults() -> String {
    let lines = example()
        .lines()
        .map(|line| {
            let set = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.ends_with('='));
            format!("{}\n", set.unwrap_or(line))
        })
        .collect::<Vec<_>>();
    lines.concat()
}

/// Appends a text as lines of comments.
fn comment(file: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            file.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        file.push(' ');
        file.push_str(word);
        width += 1 + length;
    }
    file.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::source::Sources;

    fn read(text: &str) -> Config {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("fanfare.toml");
        std::fs::write(&file, text).unwrap();
        let variables =
            vec![("FANFARE_AUTH__MODE".into(), "none".into()), ("FANFARE_NODE__ID".into(), "a".into())];
        Config::load(&Sources { file: Some(file), variables, ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_example_has_every_setting_and_gives_the_defaults_as_it_is_and_with_its_defaults_set() {
        let defaults = read("");
        let (example, set) = (example(), with_defaults());
        assert_eq!(read(&example), defaults);
        assert_eq!(read(&set), defaults);
        for setting in settings() {
            let (_, name) = setting.place();
            let line = format!("{name} =");
            let has = |text: &str, line: &str| text.lines().any(|row| row.starts_with(line));
            assert!(has(&example, &format!("#{line}")), "{}", setting.name);
            assert_eq!(
                has(&set, &line),
                settings().any(|other| other.place().1 == name && !other.default.is_empty())
            );
            assert!(example.contains(&setting.variable()), "{}", setting.name);
        }
        let is_long = |line: &&str| line.starts_with("# ") && line.chars().count() > WIDTH;
        assert_eq!(example.lines().find(is_long), None);
    }
}
