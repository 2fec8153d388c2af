//! A producer, and a reader that leaves and comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fanfare_broker::StreamStore;
use fanfare_broker::stream_store::{Append, AppendOutcome, NewStream};
use fanfare_node::finite::reader::{Page, Pages, ReadError, Reader};
use fanfare_node::finite::readers::Following;
use fanfare_protocol::finite::{
    End, EndKind, Form, Lease, Life, MediaType, Offset, Producer, ReadFrom, StreamName,
};
use tokio::time::sleep;

use crate::{Node, chunk};

/// How many appends a stream has at most.
const APPENDS: u64 = 40;
/// How long a producer may be silent, in seconds. Faults last shorter than this one by one, but not together.
const LEASE_MS: u64 = 5000;

/// What happened to a client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Reads that were answered with 410 or 404.
    pub(crate) gone: u64,
    /// Reads that a reader left.
    pub(crate) left: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Streams that a lease has ended.
    pub(crate) lapsed: u64,
    /// Streams that their producer has ended.
    pub(crate) completed: u64,
}

impl Counts {
    /// Returns the sum.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            gone: self.gone + other.gone,
            left: self.left + other.left,
            failed: self.failed + other.failed,
            lapsed: self.lapsed + other.lapsed,
            completed: self.completed + other.completed,
        }
    }
}

/// A client of the nodes.
pub(crate) struct Client {
    pub(crate) random: fastrand::Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) name: StreamName,
    pub(crate) media_type: MediaType,
    pub(crate) pages: Pages,
    pub(crate) counts: Counts,
    /// Where the last read ended.
    pub(crate) last: Option<Offset>,
}

impl Client {
    fn node(&mut self) -> Node {
        self.nodes[self.random.usize(0..self.nodes.len())].clone()
    }

    async fn pause(&mut self, most_ms: u64) {
        sleep(Duration::from_millis(self.random.u64(1..most_ms))).await;
    }

    async fn create(&mut self) {
        let new = NewStream {
            media_type: self.media_type.clone(),
            requested: Life::Unset,
            life: Life::Unset,
            bytes: bytes::Bytes::new(),
            end: None,
            fork: None,
            lease: Lease::from_millis(LEASE_MS),
            only_compare: false,
        };
        while self.node().twin.create_stream(&self.name, &new).await.is_err() {
            self.counts.failed += 1;
            self.pause(100).await;
        }
    }

    /// Appends until the end, or dies. In place of bytes that a failover lost, it appends different ones.
    pub(crate) async fn produce(mut self) -> Counts {
        self.create().await;
        let dies = if self.random.u8(0..3) == 0 { self.random.u64(0..APPENDS) } else { u64::MAX };
        let mut seq = 0;
        let mut bytes = chunk(&mut self.random, self.media_type.form());
        while seq < dies {
            let end = (seq + 1 == APPENDS).then_some(End::COMPLETE);
            let append = Append {
                bytes: bytes.clone(),
                media_type: Some(self.media_type.clone()),
                end,
                producer: Some(Producer { id: "p".into(), epoch: 0, seq }),
                ..Append::default()
            };
            let Ok(appended) = self.node().twin.append_stream(&self.name, &append).await else {
                self.counts.failed += 1;
                self.pause(50).await;
                continue;
            };
            match appended.outcome {
                AppendOutcome::Appended | AppendOutcome::Repeated(_) if append.end.is_some() => {
                    self.counts.completed += 1;
                    break;
                }
                AppendOutcome::Appended => seq += 1,
                AppendOutcome::Repeated(last) => seq = last + 1,
                AppendOutcome::Gap(expected, _) => seq = expected,
                AppendOutcome::Missing => {
                    seq = 0;
                    self.create().await;
                }
                AppendOutcome::Closed | AppendOutcome::Lapsed => break,
                other => panic!("{other:?}"),
            }
            bytes = chunk(&mut self.random, self.media_type.form());
            self.pause(300).await;
        }
        self.counts
    }

    /// Reads to the end. Returns the bytes and the end.
    pub(crate) async fn read(self) -> (Self, BytesMut, End) {
        self.read_from(BytesMut::new(), ReadFrom::Start).await
    }

    /// Comes back after the end: it is still the end, or what was read is no longer the stream's.
    pub(crate) async fn read_on(self, bytes: BytesMut, _end: End) -> (Counts, BytesMut, End) {
        let (client, bytes, end) = match self.last {
            Some(last) => self.read_from(bytes, ReadFrom::At(last)).await,
            None => self.read_from(BytesMut::new(), ReadFrom::Start).await,
        };
        let mut counts = client.counts;
        counts.lapsed += u64::from(end.kind == EndKind::Error);
        (counts, bytes, end)
    }

    async fn read_from(mut self, mut bytes: BytesMut, mut from: ReadFrom) -> (Self, BytesMut, End) {
        loop {
            match self.follow(&mut bytes, &mut from).await {
                Ok(Some(end)) => return (self, bytes, end),
                Ok(None) => self.counts.left += 1,
                Err(ReadError::Gone | ReadError::Missing) => {
                    self.counts.gone += 1;
                    bytes.clear();
                    from = ReadFrom::Start;
                }
                Err(ReadError::Broker(_)) => self.counts.failed += 1,
                Err(other) => panic!("{other:?}"),
            }
            self.pause(200).await;
        }
    }

    /// Reads on a node until the end, a failure, or until it leaves.
    async fn follow(&mut self, bytes: &mut BytesMut, from: &mut ReadFrom) -> Result<Option<End>, ReadError> {
        let node = self.node();
        let store: Arc<dyn StreamStore> = Arc::new(node.twin.clone());
        let (mut reader, mut page) =
            Reader::open(store, self.name.clone(), (*from, &self.pages), false).await?;
        let mut follow: Following = node.readers.follow(&self.name).expect("few readers");
        let mut up_to_date = false;
        loop {
            if self.take(&page, bytes, from) {
                return Ok(None);
            }
            if page.ended {
                return Ok(reader.info().end.clone());
            }
            let nothing = page.bytes.is_empty() && up_to_date;
            up_to_date = page.up_to_date;
            // Without a limit: it is woken by what happens, or never.
            if nothing {
                follow.happened().await;
            }
            follow.note();
            page = reader.next(&follow).await?;
        }
    }

    /// Takes a page, or a part of its bytes and leaves.
    fn take(&mut self, page: &Page, bytes: &mut BytesMut, from: &mut ReadFrom) -> bool {
        let leaves = self.random.u8(0..12) == 0;
        let is_cut = leaves && self.media_type.form() == Form::Bytes && page.bytes.len() > 1;
        let count = if is_cut { self.random.usize(1..page.bytes.len()) } else { page.bytes.len() };
        bytes.extend_from_slice(&page.bytes[..count]);
        let behind = (page.bytes.len() - count) as u64;
        let at = Offset { byte: page.next.byte - behind, ..page.next };
        *from = ReadFrom::At(if is_cut { Offset { generation: page.start.generation, ..at } } else { at });
        self.last = Some(at);
        leaves
    }
}
