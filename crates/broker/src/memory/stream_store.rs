//! Calls about finite streams.

use async_trait::async_trait;
use fanfare_protocol::finite::StreamName;

use super::MemoryBroker;
use crate::stream_store::{
    Append, Appended, Created, ForkId, Found, NewStream, Origin, ReadRange, Reference, Referred, Removed,
    StreamList, StreamPage,
};
use crate::{BrokerError, StreamStore};

#[async_trait]
impl StreamStore for MemoryBroker {
    async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<Created, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        Ok(state.streams.create((&self.settings.streams, &state.subscribers), now, name, new))
    }

    async fn append_stream(&self, name: &StreamName, append: &Append) -> Result<Appended, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        let around = (&self.settings.streams, &state.subscribers);
        let (outcome, at) = state.streams.append(around, now, name, append);
        Ok(Appended { outcome, at })
    }

    async fn read_stream(
        &self,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<Found<StreamPage>, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        Ok(state.streams.read((&self.settings.streams, &state.subscribers), now, name, range))
    }

    async fn remove_stream(&self, name: &StreamName) -> Result<Found<Removed>, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        Ok(state.streams.remove((&self.settings.streams, &state.subscribers), now, name))
    }

    async fn refer_stream(
        &self,
        source: &StreamName,
        reference: &Reference,
    ) -> Result<Found<Referred>, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        Ok(state.streams.refer((&self.settings.streams, &state.subscribers), now, source, reference))
    }

    async fn stream_forks(&self, source: &StreamName) -> Result<Vec<ForkId>, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let forks = state.streams.get(source, now).map(|stream| &stream.forks).into_iter().flatten();
        Ok(forks.map(|(name, token)| ForkId { name: name.clone(), token: token.clone() }).collect())
    }

    async fn release_forks(
        &self,
        source: &StreamName,
        forks: &[ForkId],
    ) -> Result<Option<Origin>, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        if let Some(stream) = state.streams.get(source, now) {
            for ForkId { name, token } in forks {
                stream.forks.swap_remove(&(name.clone(), token.clone()));
            }
        }
        Ok(state.streams.drop_mark(source, now))
    }

    async fn list_streams(&self, after: u64) -> Result<StreamList, BrokerError> {
        let (now, mut state) = (self.now(), self.state());
        let state = &mut *state;
        Ok(state.streams.list(&state.subscribers, now, after))
    }
}
