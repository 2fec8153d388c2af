//! The JSON Schema of configuration files, for the completion and the checks of editors.
//!
//! It describes the forms that `docs/configuration.md` has for files: a node also takes a list or a number as a text, as in the
//! environment. It has no ranges of durations and no rules for several settings, which `fanfare config check` checks.

use bytesize::ByteSize;
use serde_json::{Map, Value as Json, json};

use crate::setting::Setting;
use crate::settings;

/// Returns the schema, in the dialect 2020-12.
pub fn json_schema() -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of a Fanfare node",
    });
    let Json::Object(root) = &mut schema else { unreachable!("an object") };
    for setting in settings() {
        let (group, name) = setting.place();
        let properties = group.split('.').fold(properties(root), |within, group| {
            let table = within.entry(group).or_insert_with(|| json!({}));
            properties(table.as_object_mut().expect("groups are made here"))
        });
        properties.insert(name.to_owned(), of(setting));
    }
    schema
}

/// Returns the properties of the schema of a table, which has no others.
fn properties(table: &mut Map<String, Json>) -> &mut Map<String, Json> {
    table.entry("type").or_insert_with(|| json!("object"));
    table.entry("additionalProperties").or_insert_with(|| json!(false));
    table.entry("properties").or_insert_with(|| json!({})).as_object_mut().expect("properties are made here")
}

/// Returns the schema of a setting.
fn of(setting: &Setting) -> Json {
    let mut schema = (setting.schema)();
    if schema["type"].to_string().contains("integer")
        && let Some((least, most)) = setting.range
    {
        // Declared as a number or as a size, which a number without a unit is too.
        let number = |text: &str| text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        schema["minimum"] = json!(number(least));
        schema["maximum"] = json!(number(most));
    }
    if let Some(default) = setting.default_in_file() {
        schema["default"] = default;
    }
    schema["description"] =
        json!(format!("{}{} {}", setting.meaning(), setting.limits(), setting.variable()));
    schema
}

/// Returns the schema of a list of tables with these values.
pub(crate) fn tables(values: &Json, required: &[&str]) -> Json {
    json!({
        "type": "array",
        "items": { "type": "object", "additionalProperties": false, "required": required, "properties": values },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use boon::{Compiler, SchemaIndex, Schemas};

    use super::*;
    use crate::source::Sources;
    use crate::{Config, example};

    /// The compiled schema.
    struct Checked(Schemas, SchemaIndex);

    impl Checked {
        fn new() -> Self {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource("mem:///settings", json_schema()).unwrap();
            let index = compiler.compile("mem:///settings", &mut schemas).unwrap();
            Self(schemas, index)
        }

        /// Returns what is wrong with a file.
        fn wrong(&self, text: &str) -> Option<String> {
            let file: Json = toml::from_str(text).expect("TOML");
            self.0.validate(&file, self.1).err().map(|wrong| format!("{wrong:#}"))
        }
    }

    /// Returns whether a node takes the value of a setting in a file.
    fn node_takes(name: &str, text: &str) -> bool {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("fanfare.toml");
        std::fs::write(&file, text).unwrap();
        let reading = Config::read(&Sources { file: Some(file), ..Sources::default() });
        !reading.faults.iter().any(|fault| fault.setting.starts_with(name))
    }

    #[test]
    fn every_setting_has_its_description_and_default() {
        let schema = json_schema();
        for setting in settings() {
            let pointer = format!("/properties/{}", setting.name.replace('.', "/properties/"));
            let of = schema.pointer(&pointer).unwrap_or_else(|| panic!("{} is missing", setting.name));
            let description = of["description"].as_str().unwrap();
            assert!(
                description.contains(setting.meaning()) && description.ends_with(&setting.variable()),
                "{description}"
            );
            assert_eq!(of.get("default").is_some(), !setting.default.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn the_files_of_this_repository_are_valid() {
        let checked = Checked::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let packaged = std::fs::read_to_string(root.join("packaging/fanfare.toml")).unwrap();
        for text in [packaged, example::example(), example::with_defaults()] {
            assert_eq!(checked.wrong(&text), None, "{text}");
        }
    }

    #[test]
    fn the_blocks_of_the_documentation_are_valid() {
        let checked = Checked::new();
        let page = include_str!("../../../docs/configuration.md");
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 4, "{blocks:?}");
        for block in blocks {
            assert_eq!(checked.wrong(block), None, "{block}");
        }
    }

    #[test]
    fn schema_and_node_agree_on_values() {
        let checked = Checked::new();
        let hash = "0".repeat(64);
        for (name, value) in [
            ("node.listen", r#""[::]:80""#),
            ("node.listen", r#""localhost:80""#),
            ("node.listen", "8080"),
            ("node.id", r#""a b""#),
            ("stream.heartbeat", r#""1m 30s""#),
            ("stream.heartbeat", r#""1.5h""#),
            ("stream.heartbeat", r#""15""#),
            ("stream.heartbeat", "15"),
            ("stream.queue", "65536"),
            ("stream.queue", r#""1.5 MiB""#),
            ("stream.queue", r#""64 potatoes""#),
            ("stream.queue", "1023"),
            ("stream.gzip", "false"),
            ("stream.gzip", "1"),
            ("limits.connections", "1"),
            ("limits.connections", "0"),
            ("limits.connections", "1.5"),
            ("limits.connects_per_second", "4294967296"),
            ("limits.when_full", r#""refuse""#),
            ("limits.when_full", r#""wait""#),
            ("http.trusted_proxies", r#"["10.0.0.0/8"]"#),
            ("http.trusted_proxies", "[[]]"),
            ("http.trusted_proxies", "10"),
            ("log.audit", r#""/tmp/audit""#),
            ("log.audit", r#""audit""#),
            ("retention.rules", r#"[{ channel = "a", events = 5, age = "1m", positions = "2m" }]"#),
            ("retention.rules", "[{ events = 5 }]"),
            ("retention.rules", r#"[{ channel = "a", until = 5 }]"#),
            (
                "auth.keys",
                &format!("[{{ name = 'a', sha256 = '{hash}', admin = ['look'], event_data = '1KiB' }}]"),
            ),
            (
                "auth.keys",
                &format!("[{{ name = 'a', sha256 = '{hash}', admin = true, events_per_second = 1 }}]"),
            ),
            ("auth.keys", &format!("[{{ name = 'a', sha256 = '{hash}', admin = ['root'] }}]")),
            ("auth.keys", "[{ name = 'a' }]"),
            ("auth.jwt.algorithms", "['RS256']"),
            ("auth.jwt.algorithms", "['none']"),
            ("auth.jwt.grants", "[{ claims = ['a=b'], publish = ['x'] }]"),
            ("auth.jwt.grants", "[{ claims = ['a=b'], root = true }]"),
            ("auth.issuers", "[{ issuer = 'https://a', audience = ['x'], leeway = '1s' }]"),
            ("auth.issuers", "[{ isuer = 'https://a' }]"),
            ("auth.mod", "'none'"),
        ] {
            let text = format!("{name} = {value}\n");
            let node = node_takes(name, &text);
            let wrong = checked.wrong(&text);
            assert_eq!(wrong.is_none(), node, "{text}: the node says {node}, the schema {wrong:?}");
        }
    }
}
