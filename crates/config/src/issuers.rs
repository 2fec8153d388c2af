//! Values of `auth.issuers` and of the settings of an issuer.

use config::Map;
use fanfare_auth::claim_name::ClaimName;
use fanfare_auth::claim_value::ClaimValue;
use fanfare_auth::template::Template;
use fanfare_auth::{Algorithm, Algorithms};
use serde_json::{Value as Json, json};

use crate::Config;
use crate::auth::JwtConfig;
use crate::secret::MASK;
use crate::setting::Setting;
use crate::tables::{self, tables_of};
use crate::value::{Input, Value, list, text};

/// Group of the settings that an entry has.
const GROUP: &str = "auth.jwt.";

/// Returns the setting that a name in an entry stands for.
fn setting(name: &str) -> Option<&'static Setting> {
    JwtConfig::SETTINGS.iter().find(|setting| setting.name.strip_prefix(GROUP) == Some(name))
}

/// Reads an entry by the declarations of `[auth.jwt]`.
fn of_table(index: usize, table: &Map<String, config::Value>) -> Result<JwtConfig, String> {
    let mut config = Config::default();
    for (name, value) in table {
        let setting =
            setting(name).ok_or_else(|| format!("{name:?} in entry {index} is not a setting of auth.jwt"))?;
        (setting.read)(&mut config, &value.kind)
            .map_err(|wrong| format!("{name} of entry {index}: {wrong}; expected: {}", (setting.right)()))?;
        if let Some((least, most)) = setting.range.filter(|_| !(setting.is_within)(&config)) {
            return Err(format!("{name} of entry {index} is out of range; expected: {least} to {most}"));
        }
    }
    Ok(config.auth.jwt)
}

impl Value for Vec<JwtConfig> {
    fn read(input: &Input) -> Result<Self, String> {
        let tables = tables_of(input).ok_or("not a list of tables")?;
        tables.iter().enumerate().map(|(index, table)| of_table(index, table)).collect()
    }

    fn right() -> String {
        "a list of tables with settings of auth.jwt; in the environment as in TOML: [{ issuer = \"https://login.example\", \
         key_files = [\"login.pem\"] }]"
            .to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": { "$ref": "#/properties/auth/properties/jwt" } })
    }

    /// Shows the entries as in TOML, with secrets masked. An invalid list is not shown: it may contain secrets.
    fn show(input: &Input) -> String {
        let Some(tables) = tables_of(input) else { return MASK.to_owned() };
        let value = |name: &str, value: &config::Value| match setting(name) {
            Some(setting) => (setting.show)(&value.kind),
            None => MASK.to_owned(),
        };
        tables::show(&tables, value)
    }

    fn unset() -> Self {
        Self::new()
    }
}

impl Value for Algorithms {
    fn read(input: &Input) -> Result<Self, String> {
        let named =
            |name: &String| Algorithm::named(name).ok_or_else(|| format!("{name:?} is not an algorithm"));
        let algorithms = Vec::<String>::read(input)?.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(&algorithms))
    }

    fn right() -> String {
        format!("a list of algorithms out of {}; separated by commas in the environment", Self::ALL)
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": { "enum": Algorithm::ALL.map(Algorithm::name) } })
    }

    fn show(input: &Input) -> String {
        Vec::<String>::show(input)
    }

    fn unset() -> Self {
        Self::ALL
    }
}

impl Value for ClaimName {
    fn read(input: &Input) -> Result<Self, String> {
        Self::new(&text(input)?).map_err(|error| error.to_string())
    }

    fn right() -> String {
        "the name of a claim, or a path like /realm_access/roles".to_owned()
    }

    fn schema() -> Json {
        String::schema()
    }
}

impl Value for Vec<Template> {
    fn read(input: &Input) -> Result<Self, String> {
        let template = |text: &String| Template::new(text).map_err(|error| format!("{text:?}: {error}"));
        Vec::<String>::read(input)?.iter().map(template).collect()
    }

    fn right() -> String {
        "a list of patterns with claims in braces, like team:{sub}:*; separated by commas in the environment"
            .to_owned()
    }

    fn schema() -> Json {
        Vec::<String>::schema()
    }

    fn show(input: &Input) -> String {
        list::<Vec<String>, _>(input)
    }

    fn unset() -> Self {
        Self::new()
    }
}

impl Value for Vec<ClaimValue> {
    fn read(input: &Input) -> Result<Self, String> {
        let value = |text: &String| ClaimValue::new(text).map_err(|error| format!("{text:?}: {error}"));
        Vec::<String>::read(input)?.iter().map(value).collect()
    }

    fn right() -> String {
        "a list of claims with values, like token_use=access or /realm_access/roles=editor; separated by commas in the \
         environment"
            .to_owned()
    }

    fn schema() -> Json {
        Vec::<String>::schema()
    }

    fn show(input: &Input) -> String {
        list::<Self, _>(input)
    }

    fn unset() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use config::{File, FileFormat, Source as _};

    use super::*;

    fn read(text: &str) -> Result<Vec<JwtConfig>, String> {
        Value::read(&Input::from(text))
    }

    #[test]
    fn entries_have_the_settings_of_auth_jwt_in_a_file_and_in_the_environment() {
        let entry =
            r#"{ issuer = "https://a", audience = ["x", "y"], max_lifetime = "10m", secret = "hush" }"#;
        let [jwt] = &read(&format!("[{entry}]")).unwrap()[..] else { panic!() };
        assert_eq!(jwt.issuer.as_deref(), Some("https://a"));
        assert_eq!((jwt.audience.len(), jwt.max_lifetime), (2, Duration::from_mins(10)));
        assert_eq!(jwt.leeway, Duration::from_secs(5));
        assert_eq!(jwt.algorithms, Algorithms::ALL);
        let file = File::from_str(&format!("issuers = [{entry}]"), FileFormat::Toml).collect().unwrap();
        let input = &file["issuers"].kind;
        assert_eq!(&<Vec<JwtConfig>>::read(input).unwrap()[0], jwt);
        let shown = "{ audience = x, y, issuer = https://a, max_lifetime = 10m, secret = ******** }";
        assert_eq!(<Vec<JwtConfig>>::show(input), shown);
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said_without_its_secrets() {
        for (text, word) in [
            ("[{ isuer = 'a' }]", "\"isuer\" in entry 0"),
            ("[{ }, { leeway = '2h' }]", "leeway of entry 1 is out of range; expected: 0s to 1h"),
            ("[{ leeway = 5 }]", "leeway of entry 0"),
            ("[{ algorithms = ['none'] }]", "\"none\" is not an algorithm"),
            ("[{ subscribe = ['{x}'] }]", "user:*"),
            ("[{ user_claim = '' }]", "empty"),
            ("[7]", "not a list of tables"),
            ("{ secret = 'hush' }", "not a list of tables"),
            ("[]\nsecret = 'hush'", "not a list of tables"),
            ("hush", "not a list of tables"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.contains(word), "{text}: {wrong}");
            assert!(!<Vec<JwtConfig>>::show(&text.into()).contains("hush"), "{text}");
        }
    }
}
