//! Values of `auth.jwt.grants`.

use fanfare_auth::grant_rule::GrantRule;
use serde_json::{Value as Json, json};

use crate::schema;
use crate::tables::{self, Table, tables_of};
use crate::value::{Input, Value, plain};

/// Reads a rule.
fn of_table(index: usize, table: &Table) -> Result<GrantRule, String> {
    let mut rule = GrantRule::default();
    for (name, value) in table {
        let value = &value.kind;
        let read = match name.as_str() {
            "claims" => Value::read(value).map(|claims| rule.claims = claims),
            "subscribe" => Value::read(value).map(|templates| rule.subscribe = templates),
            "publish" => Value::read(value).map(|templates| rule.publish = templates),
            "cancel" => Value::read(value).map(|templates| rule.cancel = templates),
            "admin" => Value::read(value).map(|admin| rule.admin = admin),
            _ => Err("is not one of claims, subscribe, publish, cancel, admin".to_owned()),
        };
        read.map_err(|wrong| format!("{name:?} in rule {index}: {wrong}"))?;
    }
    if rule.claims.is_empty() {
        return Err(format!(
            "rule {index} has no claims; the settings subscribe and publish are for every token"
        ));
    }
    if rule == (GrantRule { claims: rule.claims.clone(), ..GrantRule::default() }) {
        return Err(format!("rule {index} grants nothing"));
    }
    Ok(rule)
}

impl Value for Vec<GrantRule> {
    fn read(input: &Input) -> Result<Self, String> {
        let tables = tables_of(input).ok_or("not a list of tables")?;
        tables.iter().enumerate().map(|(index, table)| of_table(index, table)).collect()
    }

    fn right() -> String {
        "a list of tables with claims, and subscribe, publish, cancel or admin; in the environment as in TOML: \
         [{ claims = [\"/realm_access/roles=editor\"], publish = [\"news:*\"] }]"
            .to_owned()
    }

    fn schema() -> Json {
        let list = Vec::<String>::schema();
        schema::tables(
            &json!({ "claims": list, "subscribe": list, "publish": list, "cancel": list, "admin": bool::schema() }),
            &["claims"],
        )
    }

    fn show(input: &Input) -> String {
        let Some(tables) = tables_of(input) else { return plain(input) };
        tables::show(&tables, |_, value| match &value.kind {
            list @ Input::Array(_) => format!("[{}]", plain(list)),
            other => plain(other),
        })
    }

    fn unset() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<GrantRule>, String> {
        Value::read(&Input::from(text))
    }

    #[test]
    fn rules_are_tables_with_claims_and_grants() {
        let text = r#"[{ claims = ["roles=editor", "mfa=true"], publish = ["news:*", "desk:{desk}"] }, { claims = ["roles=ops"], admin = true, cancel = ["stream:*"] }]"#;
        let [editor, ops] = &read(text).unwrap()[..] else { panic!() };
        assert_eq!((editor.claims.len(), editor.publish.len(), editor.admin), (2, 2, false));
        assert!(ops.admin && ops.publish.is_empty() && ops.cancel.len() == 1);
        let shown = "{ claims = [roles=editor, mfa=true], publish = [news:*, desk:{desk}] }, { admin = true, cancel = [stream:*], claims = [roles=ops] }";
        assert_eq!(<Vec<GrantRule>>::show(&Input::from(text)), shown);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, word) in [
            ("[{ admin = true }]", "rule 0 has no claims"),
            ("[{ claims = [], admin = true }]", "rule 0 has no claims"),
            ("[{ claims = ['a=b'] }]", "rule 0 grants nothing"),
            ("[{ claims = ['a=b'], admin = false }]", "rule 0 grants nothing"),
            (
                "[{ claims = ['a=b'], admin = true }, { claims = ['a'], admin = true }]",
                "rule 1: \"a\": it has no '='",
            ),
            ("[{ claims = ['a=b'], publish = ['{x'] }]", "brace"),
            ("[{ claims = ['a=b'], subscribe = ['{x}'] }]", "user:*"),
            ("[{ claims = ['a=b'], admin = 'yes' }]", "neither true nor false"),
            ("[{ claims = ['a=b'], root = true }]", "\"root\" in rule 0"),
            ("[7]", "not a list of tables"),
            ("a=b", "not a list of tables"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
    }
}
