//! Rights beyond channels, which operators and services need.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A right beyond channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// To list the sessions of all users, who follows a channel, the nodes, and the finite streams, and to follow the figures of the nodes.
    Look,
    /// To disconnect the sessions of all users, and to revoke tokens.
    Disconnect,
    /// To publish to every channel.
    Publish,
}

impl Right {
    /// All rights, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::Look, Self::Disconnect, Self::Publish];

    /// Returns the name in claims and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Disconnect => "disconnect",
            Self::Publish => "publish",
        }
    }

    /// Returns the right with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The rights of a bearer. Written as `true` for an admin, who may do everything; else as a list, or `false` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// The rights of an admin: everything, also what no single right allows.
    pub const ADMIN: Self = Self(u8::MAX);

    /// Returns these rights.
    pub fn of(rights: &[Right]) -> Self {
        Self(rights.iter().fold(0, |bits, right| bits | right.bit()))
    }

    /// Returns whether these are the rights of an admin.
    pub fn is_admin(self) -> bool {
        self == Self::ADMIN
    }

    /// Returns whether there are none.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// Returns whether a right is among them.
    pub fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// Returns the rights, one by one.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "true, false or a list of look, disconnect and publish")]
enum Form {
    Admin(bool),
    List(Vec<Right>),
}

impl Serialize for Rights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list: Vec<Right> = self.iter().collect();
        let form =
            if self.is_admin() || list.is_empty() { Form::Admin(self.is_admin()) } else { Form::List(list) };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Admin(true) => Self::ADMIN,
            Form::Admin(false) => Self::default(),
            Form::List(rights) => Self::of(&rights),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_all_or_none_or_a_list() {
        let read = |json: &str| serde_json::from_str::<Rights>(json);
        assert_eq!(read("true").unwrap(), Rights::ADMIN);
        assert_eq!((read("false").unwrap(), read("[]").unwrap()), (Rights::default(), Rights::default()));
        let some = read(r#"["disconnect","look","look"]"#).unwrap();
        assert_eq!(some, Rights::of(&[Right::Look, Right::Disconnect]));
        assert!(!some.is_empty() && !Rights::ADMIN.is_empty() && Rights::default().is_empty());
        assert!(!some.is_admin() && some.has(Right::Look) && !some.has(Right::Publish));
        assert!(!Rights::of(&Right::ALL).is_admin(), "an admin may do more than what has a name");
        for rights in [Rights::ADMIN, Rights::default(), some, Rights::of(&Right::ALL)] {
            assert_eq!(read(&serde_json::to_string(&rights).unwrap()).unwrap(), rights);
        }
        for bad in [r#""look""#, r#"["root"]"#, "1", "null", r#"{"look":true}"#, r#"["Look"]"#] {
            assert!(read(bad).unwrap_err().to_string().contains("look, disconnect"), "{bad}");
        }
        assert!(Right::ALL.iter().all(|right| Right::named(right.as_str()) == Some(*right)));
    }
}
