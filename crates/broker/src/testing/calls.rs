//! Each call of a [`FaultyBroker`] meets its fault on the way to the memory broker.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::finite::StreamName;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::revocation::Revoked;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::ticket::TicketId;
use fanfare_protocol::{Channel, Position, SessionId, User};

use super::fault::Call;
use super::faulty::FaultyBroker;
use crate::ack_store::{AckedPosition, Receipt};
use crate::credential_store::{Append, Appended, NewTicket, RevocationEntry, TicketUse, TicketUsed};
use crate::dead_letter::{DeadLetters, Rejected, Requeued};
use crate::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, Reading};
use crate::lease::{LeaseOutcome, Swept};
use crate::log::{Page, PageLimit};
use crate::session::{Claim, Claimed, Holding, Presence, Renewed, SessionEnd, SessionInfo, UserPage};
use crate::stream_store::{
    self, Appended as StreamAppended, Created, ForkId, Found, NewStream, Origin, ReadRange, Reference,
    Referred, Removed, StreamList, StreamPage,
};
use crate::subscriber::{SubscriberConnection, SubscriberSink};
use crate::{
    AckStore, BrokerError, CredentialStore, EventLog, IntakeQueue, LiveTopics, Membership, NodeId, NodeInfo,
    Published, SessionStore, StreamStore,
};

#[async_trait]
impl EventLog for FaultyBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        let size = batch.len();
        let all = self.call(Call::Publish, async { Ok(self.inner.publish(batch).await) });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        let size = batch.len();
        let all = self.call(Call::Publish, async { Ok(self.inner.publish_known(batch).await) });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        self.call(Call::Page, self.inner.page(channel, after, limit)).await
    }

    async fn locate(&self, channel: &Channel, from: StartAt) -> Result<Position, BrokerError> {
        self.inner.locate(channel, from).await
    }
}

impl LiveTopics for FaultyBroker {
    fn open_subscriber(&self, node: &NodeId, sink: SubscriberSink) -> SubscriberConnection {
        self.inner.open_subscriber(node, sink)
    }
}

#[async_trait]
impl SessionStore for FaultyBroker {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        self.call(Call::Claim, self.inner.claim(claim)).await
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        end: SessionEnd,
    ) -> Result<bool, BrokerError> {
        self.call(Call::Release, self.inner.release(node, user, session, epoch, end)).await
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        self.call(Call::Renew, self.inner.renew(node, held)).await
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        self.call(Call::Sessions, self.inner.sessions(user)).await
    }

    async fn presence(&self, channel: &Channel, page: &UserPage) -> Result<Presence, BrokerError> {
        self.call(Call::Presence, self.inner.presence(channel, page)).await
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        self.call(Call::Send, self.inner.send(node, command)).await
    }
}

#[async_trait]
impl Membership for FaultyBroker {
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<LeaseOutcome, BrokerError> {
        self.call(Call::Lease, self.inner.lease(info, ttl)).await
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        self.call(Call::Leave, self.inner.leave(info)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        self.call(Call::Nodes, self.inner.nodes()).await
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        self.call(Call::Sweep, self.inner.sweep(node, ttl)).await
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        self.call(Call::Prepare, self.inner.prepare()).await
    }
}

#[async_trait]
impl CredentialStore for FaultyBroker {
    async fn revoke(&self, revoked: &[Revoked], append: Append) -> Result<Appended, BrokerError> {
        self.call(Call::Revoke, self.inner.revoke(revoked, append)).await
    }

    async fn revocations(&self, from: Position, limit: usize) -> Result<Vec<RevocationEntry>, BrokerError> {
        self.call(Call::Revocations, self.inner.revocations(from, limit)).await
    }

    async fn create_ticket(&self, user: &User, ticket: &NewTicket) -> Result<bool, BrokerError> {
        self.call(Call::CreateTicket, self.inner.create_ticket(user, ticket)).await
    }

    async fn use_ticket(&self, user: &User, usage: &TicketUse) -> Result<TicketUsed, BrokerError> {
        self.call(Call::UseTicket, self.inner.use_ticket(user, usage)).await
    }

    async fn return_ticket(&self, user: &User, id: TicketId, opening: u64) -> Result<(), BrokerError> {
        self.call(Call::ReturnTicket, self.inner.return_ticket(user, id, opening)).await
    }
}

#[async_trait]
impl AckStore for FaultyBroker {
    async fn acknowledge(
        &self,
        user: &User,
        reader: &Reader,
        positions: &[AckedPosition],
    ) -> Result<usize, BrokerError> {
        self.call(Call::Acknowledge, self.inner.acknowledge(user, reader, positions)).await
    }

    async fn acknowledged(&self, user: &User, reader: &Reader) -> Result<Vec<AckedPosition>, BrokerError> {
        self.call(Call::Acknowledged, self.inner.acknowledged(user, reader)).await
    }

    async fn report_receipts(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        self.call(Call::Receipts, self.inner.report_receipts(receipts)).await
    }
}

#[async_trait]
impl IntakeQueue for FaultyBroker {
    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        self.call(Call::Lead, self.inner.lead_intake(node, ttl)).await
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        self.call(Call::Resign, self.inner.resign_intake(node)).await
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        self.call(Call::Read, self.inner.read_intake(node)).await
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        self.call(Call::Take, self.inner.take_intake(reading, limit, wait)).await
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<ChainedEntry>,
    ) -> Vec<Result<IntakeOutcome, BrokerError>> {
        let size = entries.len();
        self.script().batches.push(size);
        let all = self.call(Call::Publish, async {
            let mut results = Vec::new();
            for placed in entries {
                let failed = self.script().publish.as_mut().and_then(|decide| decide(&placed.publication));
                results.push(match failed {
                    Some(error) => Err(error),
                    None => self.inner.publish_intake(reading, vec![placed]).await.remove(0),
                });
            }
            Ok(results)
        });
        all.await.unwrap_or_else(|error| vec![Err(error); size])
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        self.call(Call::Reject, self.inner.reject_intake(reading, rejected)).await
    }

    async fn dead_letters(
        &self,
        from: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<DeadLetters, BrokerError> {
        self.call(Call::DeadLetters, self.inner.dead_letters(from, limit, bytes)).await
    }

    async fn requeue_dead(&self, id: Position) -> Result<Requeued, BrokerError> {
        self.call(Call::RequeueDead, self.inner.requeue_dead(id)).await
    }

    async fn drop_dead(&self, id: Position) -> Result<bool, BrokerError> {
        self.call(Call::DropDead, self.inner.drop_dead(id)).await
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        self.call(Call::Settle, self.inner.settle_intake(reading, published)).await
    }

    async fn reset_intake(&self, reading: &Reading) -> Result<Option<Position>, BrokerError> {
        self.call(Call::Reset, self.inner.reset_intake(reading)).await
    }
}

#[async_trait]
impl StreamStore for FaultyBroker {
    async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<Created, BrokerError> {
        self.call(Call::Stream, self.inner.create_stream(name, new)).await
    }

    async fn append_stream(
        &self,
        name: &StreamName,
        append: &stream_store::Append,
    ) -> Result<StreamAppended, BrokerError> {
        self.call(Call::Stream, self.inner.append_stream(name, append)).await
    }

    async fn read_stream(
        &self,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<Found<StreamPage>, BrokerError> {
        self.call(Call::Stream, self.inner.read_stream(name, range)).await
    }

    async fn remove_stream(&self, name: &StreamName) -> Result<Found<Removed>, BrokerError> {
        self.call(Call::Stream, self.inner.remove_stream(name)).await
    }

    async fn refer_stream(
        &self,
        source: &StreamName,
        reference: &Reference,
    ) -> Result<Found<Referred>, BrokerError> {
        self.call(Call::Stream, self.inner.refer_stream(source, reference)).await
    }

    async fn stream_forks(&self, source: &StreamName) -> Result<Vec<ForkId>, BrokerError> {
        self.call(Call::Stream, self.inner.stream_forks(source)).await
    }

    async fn release_forks(
        &self,
        source: &StreamName,
        forks: &[ForkId],
    ) -> Result<Option<Origin>, BrokerError> {
        self.call(Call::Stream, self.inner.release_forks(source, forks)).await
    }

    async fn list_streams(&self, after: u64) -> Result<StreamList, BrokerError> {
        self.call(Call::Stream, self.inner.list_streams(after)).await
    }
}
