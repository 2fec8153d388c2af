//! The responses of `/v1/dead-letters`.

use serde::{Deserialize, Serialize};

/// Entries of the dead-letter stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeadLetterPage {
    /// The entries, oldest first, without their fields.
    pub dead_letters: Vec<DeadLetter>,
    /// Value of `after=` for the next page.
    pub next: String,
    /// Whether the stream has further entries.
    pub more: bool,
}

/// An entry of the intake that could not be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// Id in the dead-letter stream.
    pub id: String,
    /// When it was moved there, in Unix milliseconds.
    pub time: u64,
    /// Id that it had in the intake.
    pub entry: String,
    /// Why it was not published.
    pub reason: String,
    /// Its channel, valid or not; empty without one.
    pub channel: String,
    /// Size of the names and values of its fields, in bytes.
    pub bytes: usize,
    /// Whether all its fields are stored, so that it can be requeued.
    pub complete: bool,
    /// Its fields, in order; only in the response for a single entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<Field>>,
}

/// A field of an entry. Bytes that are not UTF-8 are replaced with U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// An entry was moved back to the intake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Requeued {
    /// Id that it had in the dead-letter stream.
    pub id: String,
    /// Its new id in the intake.
    pub entry: String,
}

/// An entry was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Dropped {
    /// Id that it had in the dead-letter stream.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_no_fields_and_a_single_entry_has_them() {
        let mut letter = DeadLetter {
            id: "9-0".into(),
            time: 9,
            entry: "5-1".into(),
            reason: "why".into(),
            channel: "a".into(),
            bytes: 8,
            complete: true,
            fields: None,
        };
        let page = DeadLetterPage { dead_letters: vec![letter.clone()], next: "9-0".into(), more: false };
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"dead_letters":[{"id":"9-0","time":9,"entry":"5-1","reason":"why","channel":"a","bytes":8,"#,
                r#""complete":true}],"next":"9-0","more":false}"#
            )
        );
        assert_eq!(serde_json::from_str::<DeadLetterPage>(&text).unwrap(), page);
        letter.fields = Some(vec![Field { name: "channel".into(), value: "a".into() }]);
        let text = serde_json::to_string(&letter).unwrap();
        assert!(text.ends_with(r#""complete":true,"fields":[{"name":"channel","value":"a"}]}"#), "{text}");
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).unwrap(), letter);
    }

    #[test]
    fn a_change_names_the_entry() {
        let requeued = Requeued { id: "9-0".into(), entry: "12-0".into() };
        assert_eq!(serde_json::to_string(&requeued).unwrap(), r#"{"id":"9-0","entry":"12-0"}"#);
        let dropped = Dropped { id: "9-0".into() };
        assert_eq!(serde_json::to_string(&dropped).unwrap(), r#"{"id":"9-0"}"#);
    }
}
