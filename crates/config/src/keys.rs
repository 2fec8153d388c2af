//! Values of `auth.keys`.

use bytesize::ByteSize;
use fanfare_auth::api_key::{ApiKey, KeyHash};
use fanfare_protocol::rights::{Right, Rights};
use fanfare_protocol::{Grants, Pattern, User};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::tables::tables_of;
use crate::value::{Input, Value};
use crate::{bytes, schema};

/// An entry of `auth.keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: User,
    sha256: String,
    #[serde(default)]
    subscribe: Vec<Pattern>,
    #[serde(default)]
    publish: Vec<Pattern>,
    #[serde(default)]
    cancel: Vec<Pattern>,
    #[serde(default)]
    admin: Rights,
    events_per_second: Option<u32>,
    event_data: Option<String>,
}

impl Entry {
    fn key(self) -> Result<ApiKey, String> {
        let Self { name, sha256, subscribe, publish, cancel, admin, events_per_second, event_data } = self;
        let size = |text: String| {
            text.parse::<ByteSize>().map(bytes).map_err(|error| format!("event_data: {error}"))
        };
        Ok(ApiKey {
            name,
            hash: sha256.parse::<KeyHash>().map_err(|error| format!("sha256: {error}"))?,
            grants: Grants { subscribe, publish, cancel, admin },
            events_per_second,
            event_data: event_data.map(size).transpose()?,
        })
    }
}

impl Value for Vec<ApiKey> {
    fn read(input: &Input) -> Result<Self, String> {
        let tables = tables_of(input).ok_or("not a list of tables")?;
        let key = |(index, table)| {
            let wrong = |why: String| format!("entry {index}: {why}");
            let table = config::Value::new(None, Input::Table(table));
            let entry: Entry = table.try_deserialize().map_err(|error| wrong(error.to_string()))?;
            entry.key().map_err(wrong)
        };
        tables.into_iter().enumerate().map(key).collect()
    }

    fn right() -> String {
        "a list of tables with name and sha256, and optionally subscribe, publish, cancel, admin, events_per_second and event_data; \
         `fanfare key` prints an entry. In the environment as in TOML: [{ name = \"orders\", sha256 = \"…\" }]"
            .to_owned()
    }

    fn schema() -> Json {
        let list = Vec::<String>::schema();
        let rights = Right::ALL.map(Right::as_str);
        let values = json!({
            "name": String::schema(),
            "sha256": { "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" },
            "subscribe": list,
            "publish": list,
            "cancel": list,
            "admin": { "type": ["boolean", "array"], "items": { "enum": rights } },
            "events_per_second": u32::schema(),
            "event_data": ByteSize::schema(),
        });
        schema::tables(&values, &["name", "sha256"])
    }

    /// Shows the names.
    fn show(input: &Input) -> String {
        let Ok(keys) = Self::read(input) else { return crate::secret::MASK.to_owned() };
        keys.iter().map(|key| key.name.id()).collect::<Vec<_>>().join(", ")
    }

    fn unset() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::rights::Right;

    use super::*;

    #[test]
    fn an_entry_has_a_name_and_a_hash_and_what_the_key_may_do() {
        let hash = KeyHash::of("x");
        let text = format!(
            "[{{ name = 'orders', sha256 = '{hash}', publish = ['order:*'], cancel = ['stream:*'], admin = ['look'], \
             events_per_second = 5, event_data = '1KiB' }}, {{ name = 'ops', sha256 = '{hash}', admin = true }}]"
        );
        let [orders, ops] = &<Vec<ApiKey>>::read(&Input::from(&*text)).unwrap()[..] else { panic!() };
        assert_eq!((orders.name.id(), orders.hash), ("orders", hash));
        assert_eq!(orders.grants.admin, Rights::of(&[Right::Look]));
        assert_eq!((orders.events_per_second, orders.event_data), (Some(5), Some(1024)));
        assert_eq!(orders.grants.publish, [Pattern::new("order:*").unwrap()]);
        assert_eq!(orders.grants.cancel, [Pattern::new("stream:*").unwrap()]);
        assert!(ops.grants.admin.is_admin() && ops.event_data.is_none());
        assert_eq!(<Vec<ApiKey>>::show(&Input::from(&*text)), "orders, ops");
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        let hash = KeyHash::of("x");
        for (text, word) in [
            (format!("[{{ sha256 = '{hash}' }}]"), "entry 0: missing"),
            (format!("[{{ name = 'a b', sha256 = '{hash}' }}]"), "entry 0"),
            ("[{ name = 'a', sha256 = 'ffk_secret' }]".to_owned(), "sha256: not a SHA-256"),
            (format!("[{{ name = 'a', sha256 = '{hash}', admin = ['root'] }}]"), "look, disconnect"),
            (format!("[{{ name = 'a', sha256 = '{hash}', event_data = 'x' }}]"), "event_data"),
            (format!("[{{ name = 'a', sha256 = '{hash}', key = 'ffk_secret' }}]"), "key"),
            ("7".to_owned(), "not a list of tables"),
        ] {
            let wrong = <Vec<ApiKey>>::read(&Input::from(&*text)).unwrap_err();
            assert!(wrong.contains(word), "{text}: {wrong}");
            assert!(
                !wrong.contains("ffk_secret") && !<Vec<ApiKey>>::show(&Input::from(&*text)).contains("ffk_")
            );
        }
    }
}
