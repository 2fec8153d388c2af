//! Grants that settings give to tokens with certain claims.

use fanfare_protocol::Grants;
use fanfare_protocol::rights::Rights;

use crate::claim_value::{self, ClaimValue};
use crate::claims::Claims;
use crate::template::Template;

/// Grants for the tokens with certain claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantRule {
    /// What a token must have: of each claim one of the values. If empty, the rule is for every token.
    pub claims: Vec<ClaimValue>,
    /// Patterns that such tokens may subscribe to.
    pub subscribe: Vec<Template>,
    /// Patterns that such tokens may publish to.
    pub publish: Vec<Template>,
    /// Patterns of finite streams that such tokens may cancel.
    pub cancel: Vec<Template>,
    /// Whether such tokens may do everything.
    pub admin: bool,
}

impl GrantRule {
    /// Adds the grants of the rule to those of a token, if the rule is for it.
    ///
    /// # Errors
    ///
    /// Fails with the reason if a claim has a value that cannot be part of a channel name.
    pub(crate) fn apply(&self, claims: &Claims<'_>, grants: &mut Grants) -> Result<(), String> {
        if claim_value::first_missing(&self.claims, claims).is_some() {
            return Ok(());
        }
        for template in &self.subscribe {
            grants.subscribe.extend(template.expand(claims)?);
        }
        for template in &self.publish {
            grants.publish.extend(template.expand(claims)?);
        }
        for template in &self.cancel {
            grants.cancel.extend(template.expand(claims)?);
        }
        if self.admin {
            grants.admin = Rights::ADMIN;
        }
        Ok(())
    }
}
