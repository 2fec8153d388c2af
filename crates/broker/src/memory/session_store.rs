//! Owners of sessions.

use async_trait::async_trait;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position, SessionId, User};

use super::MemoryBroker;
use crate::session::{Claim, Claimed, Holding, Presence, Renewed, SessionEnd, SessionInfo, UserPage};
use crate::{BrokerError, NodeId, SessionStore};

#[async_trait]
impl SessionStore for MemoryBroker {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let tip = state
            .channels
            .get(claim.user.channel())
            .map_or(Position::ZERO, |log| log.locate(StartAt::Latest));
        let claimed = state.sessions.claim(claim, tip, now);
        if let Claimed::Held { epoch, from: Some(from), .. } = &claimed
            && *from != claim.node
        {
            let Claim { user, session, .. } = claim;
            let command = Control::Supersede { user: user.clone(), session: *session, epoch: *epoch };
            state.subscribers.control(from, &command);
        }
        state.sessions.lifecycle.trim(self.settings.lifecycle_events);
        Ok(claimed)
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        end: SessionEnd,
    ) -> Result<bool, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let released = state.sessions.release((node, user, session, epoch), end, now);
        state.sessions.lifecycle.trim(self.settings.lifecycle_events);
        Ok(released)
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        Ok(held.iter().map(|holding| state.sessions.renew(node, holding, now)).collect())
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        Ok(self.state().sessions.of(user))
    }

    async fn presence(&self, channel: &Channel, page: &UserPage) -> Result<Presence, BrokerError> {
        Ok(self.state().sessions.presence(channel, page))
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        self.state().subscribers.control(node, command);
        Ok(())
    }
}
