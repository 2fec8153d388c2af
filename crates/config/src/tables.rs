//! Lists of tables: in a file, and as text of TOML in the environment.

use config::{File, FileFormat, Map, Source as _};

use crate::value::Input;

/// A table of a list.
pub(crate) type Table = Map<String, config::Value>;

/// Returns the tables of a list, whichever source it is from; `None` if it is not a list of tables.
pub(crate) fn tables_of(input: &Input) -> Option<Vec<Table>> {
    let table = |item: &config::Value| match &item.kind {
        Input::Table(table) => Some(table.clone()),
        _ => None,
    };
    match input {
        Input::Array(items) => items.iter().map(table).collect(),
        Input::String(text) => {
            let file = File::from_str(&format!("list = {text}"), FileFormat::Toml).collect().ok()?;
            match &file.get("list")?.kind {
                Input::Array(items) if file.len() == 1 => items.iter().map(table).collect(),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Returns tables as text, almost as in TOML. `value` shows the value with a name.
pub(crate) fn show(tables: &[Table], value: impl Fn(&str, &config::Value) -> String) -> String {
    let entry = |table: &Table| {
        let mut fields: Vec<_> =
            table.iter().map(|(name, of)| format!("{name} = {}", value(name, of))).collect();
        fields.sort();
        format!("{{ {} }}", fields.join(", "))
    };
    tables.iter().map(entry).collect::<Vec<_>>().join(", ")
}
