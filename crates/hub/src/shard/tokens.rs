//! Streams whose tokens are revoked or replaced.

use fanfare_broker::session::CloseReason;
use fanfare_coordination::revocations::stream_token::Replacement;

use super::Shard;
use crate::stream::Identity;

impl Shard {
    /// Ends the streams whose tokens are revoked.
    pub(super) fn check_tokens(&mut self) {
        let open = self.slots.iter().filter(|(_, slot)| slot.connection.is_open());
        let revoked: Vec<usize> =
            open.filter(|(_, slot)| slot.connection.is_revoked()).map(|(key, _)| key).collect();
        for key in revoked {
            self.begin_end(key, CloseReason::Revoked);
        }
    }

    /// Replaces the token of an identity's stream. A stream with a channel that the new token does not grant ends: the
    /// client learns which one when it comes back.
    pub(super) fn replace_token(&mut self, (identity, replacement): (Identity, Replacement)) {
        let Some(&key) = self.by_identity.get(&identity) else { return };
        let Replacement { expires, token, grants } = replacement;
        let places = self.slots[key].connection.places_in_topics();
        let mut channels = places.into_iter().map(|(at, _)| &self.topics[at].channel);
        if !channels.all(|channel| grants.may_subscribe(identity.user(), channel)) {
            return self.begin_end(key, CloseReason::Ungranted);
        }
        let slot = &mut self.slots[key];
        slot.connection.replace_token(expires, token);
        self.timers.reset_at(&slot.timer, slot.connection.next_check(&self.context));
        // It may have been revoked on its way.
        if slot.connection.is_revoked() {
            self.begin_end(key, CloseReason::Revoked);
        }
    }
}
