//! Reads a stream from a place on, as far as it is stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::stream_store::{Found, ReadRange, StreamInfo, StreamPage};
use fanfare_broker::{BrokerError, StreamStore};
use fanfare_protocol::finite::{Form, Lease, Offset, ReadFrom, StreamName, cut};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::readers::Following;

/// Maximum number of readers that have a message larger than a page at the same time.
const LARGE: usize = 32;
/// How long a reader waits for its turn to have one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The size of pages, and how many may be larger. Clones share the latter.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Maximum number of bytes, but for a single message.
    most: usize,
    large: Arc<Semaphore>,
    /// Streams that a read has ended, since their leases were over.
    lapses: Counter,
}

impl Pages {
    /// Creates pages of at most this number of bytes.
    pub fn new(most: usize, lapses: Counter) -> Self {
        Self { most, large: Arc::new(Semaphore::new(LARGE)), lapses }
    }

    async fn read(
        &self,
        store: &dyn StreamStore,
        name: &StreamName,
        range: ReadRange,
    ) -> Result<StreamPage, ReadError> {
        match store.read_stream(name, range).await? {
            Found::Here(here) => {
                if here.info.lapsed {
                    self.lapses.inc();
                }
                Ok(here)
            }
            Found::Missing => Err(ReadError::Missing),
            Found::Deleted => Err(ReadError::Deleted),
        }
    }
}

/// One reader of a stream. It holds no bytes: each page is read when the socket takes it.
pub struct Reader {
    store: Arc<dyn StreamStore>,
    name: StreamName,
    /// What was known of the stream at the last read.
    info: StreamInfo,
    /// The next byte.
    at: u64,
    pages: Pages,
    /// Whether characters are kept whole.
    is_text: bool,
}

/// Bytes of a stream, with where they begin and end.
#[derive(Debug)]
pub struct Page {
    /// The bytes: whole messages of JSON, and maybe whole characters of text.
    pub bytes: Bytes,
    /// The place of the first byte.
    pub start: Offset,
    /// The place behind the last byte.
    pub next: Offset,
    /// Whether these are all bytes there are.
    pub up_to_date: bool,
    /// Whether the stream has ended, and these are all bytes there are.
    pub ended: bool,
    /// The turn to have a message that is larger than a page, held as long as its bytes.
    pub(crate) turn: Option<OwnedSemaphorePermit>,
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is no such stream.
    Missing,
    /// It was deleted, and has forks.
    Deleted,
    /// The offset is not one of this stream, or what was before it is lost.
    Gone,
    /// The offset is within a message.
    Within,
    /// Too many readers have messages that are larger than a page.
    Busy,
    /// The broker did not answer.
    Broker(BrokerError),
}

impl From<BrokerError> for ReadError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl Reader {
    /// Begins to read, which lets the stream live on. Returns the first page.
    ///
    /// # Errors
    ///
    /// Fails if there is no such stream or no such place in it, or if the broker does not answer.
    pub async fn open(
        store: Arc<dyn StreamStore>,
        name: StreamName,
        (from, pages): (ReadFrom, &Pages),
        keeps_characters: bool,
    ) -> Result<(Self, Page), ReadError> {
        // The byte before shows whether the place is within a message.
        let (first, before) = match from {
            ReadFrom::Now => (None, 0),
            ReadFrom::Start => (Some(0), 0),
            ReadFrom::At(offset) => (Some(offset.byte.saturating_sub(1)), u64::from(offset.byte > 0)),
        };
        let range = ReadRange { from: first, bytes: pages.most + 1, renews: true };
        let found = pages.read(&*store, &name, range).await?;
        let (info, bytes) = (found.info, found.bytes);
        let at = match from {
            ReadFrom::Now => info.tail,
            ReadFrom::Start => 0,
            ReadFrom::At(offset) => info.generations.resolve(offset, info.tail).ok_or(ReadError::Gone)?,
        };
        let form = info.media_type.form();
        if form == Form::Json && before > 0 && bytes.first() != Some(&b'\n') {
            return Err(ReadError::Within);
        }
        let is_text = keeps_characters && form == Form::Text;
        let mut reader = Self { store, name, info, at, pages: pages.clone(), is_text };
        let mut bytes = bytes.slice(usize::try_from(before).unwrap_or_default().min(bytes.len())..);
        bytes.truncate(pages.most);
        let page = reader.page_of(bytes).await?;
        Ok((reader, page))
    }

    /// Returns what was known of the stream at the last read.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Reads the next page, from the newest bytes if they are here.
    ///
    /// # Errors
    ///
    /// Fails like [`Self::open`].
    pub async fn next(&mut self, follow: &Following) -> Result<Page, ReadError> {
        if let Some((bytes, tail)) = follow.window(self.info.generations.newest(), self.at, self.pages.most) {
            self.info.tail = tail;
            return self.page_of(bytes).await;
        }
        let page = self.next_stored().await?;
        let StreamInfo { lease, lease_left, .. } = &self.info;
        follow.set_lease(lease.map(Lease::duration), *lease_left);
        Ok(page)
    }

    async fn next_stored(&mut self) -> Result<Page, ReadError> {
        let bytes = self.read(self.pages.most).await?;
        self.page_of(bytes).await
    }

    async fn read(&mut self, most: usize) -> Result<Bytes, ReadError> {
        let range = ReadRange { from: Some(self.at), bytes: most, renews: false };
        let found = self.pages.read(&*self.store, &self.name, range).await?;
        // Deleted and created again, or lost: what was read is no longer part of the stream.
        let place = self.info.generations.mint(self.at);
        if found.info.generations.resolve(place, found.info.tail).is_none() {
            return Err(ReadError::Gone);
        }
        self.info = found.info;
        Ok(found.bytes)
    }

    /// Returns the page of bytes that were read, and moves on behind it.
    async fn page_of(&mut self, mut bytes: Bytes) -> Result<Page, ReadError> {
        let form = self.info.media_type.form();
        let (mut most, mut turn) = (self.pages.most, None);
        let whole = loop {
            let reaches_end = self.at + bytes.len() as u64 >= self.info.tail;
            let is_last = reaches_end && self.info.end.is_some();
            // A page is cut between characters, so that a client may go on in another way. What is stored is given whole.
            let form = if form == Form::Text && reaches_end && !self.is_text { Form::Bytes } else { form };
            match cut::whole(form, &bytes, is_last) {
                Some(whole) => break whole,
                // A message that is larger than a page.
                None if reaches_end => break 0,
                None => {
                    if turn.is_none() {
                        turn = Some(self.turn().await?);
                    }
                    most *= 2;
                    bytes = self.read(most).await?;
                }
            }
        };
        bytes.truncate(whole);
        let start = self.info.generations.mint(self.at);
        self.at += whole as u64;
        let next = self.info.generations.mint(self.at);
        let up_to_date = self.at >= self.info.tail;
        let ended = up_to_date && self.info.end.is_some();
        Ok(Page { bytes, start, next, up_to_date, ended, turn })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        let turn = timeout(PATIENCE, Arc::clone(&self.pages.large).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(ReadError::Busy)
    }
}
