//! Writes of a connection: batches of queued data, single events, and the end of the stream.

use std::task::Context;

use fanfare_broker::session::CloseReason;

use super::id::Id;
use super::queue::Item;
use super::socket_writer::{CHUNK_HEAD, WriteResult};
use super::subscription::Subscription;
use super::{Connection, ShardContext};
use crate::encoded_event::{Encoded, EncodedEvent, Encoding};
use crate::gzip::BodyBatch;

/// Maximum batch size after which a shard keeps its buffer, in bytes.
const KEPT_SCRATCH: usize = 2 * 1024 * 1024;

/// Approximate size of one write, in bytes. A single event may be larger.
const BATCH_BYTES: usize = 16 * 1024;

/// State of a connection after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushResult {
    /// All queued data was passed to the kernel.
    Done,
    /// The socket is full.
    Full,
    /// The connection broke, or it ended and the client has received the end.
    Over(CloseReason),
}

impl Connection {
    /// Writes queued data until the socket is full. `scratch` is the shard's buffer; its content has no meaning.
    pub(crate) fn flush(
        &mut self,
        context: &ShardContext,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        if self.writer.waiting() > 0 && !self.deadlines.is_blocked() {
            // The head of the response waits for the first block, so that both leave in one write.
            self.encode_batch(context, scratch);
            self.writer.append(scratch);
            self.deadlines.progress(context.now);
        }
        let mut written = self.writer.write_rest(cx);
        while written == WriteResult::All && !self.queue.is_empty() {
            self.encode_batch(context, scratch);
            written = self.writer.write_batch(scratch, cx);
            self.deadlines.progress(context.now);
        }
        let result = self.finish_write(written, scratch, cx);
        self.count_bytes(context);
        result
    }

    /// Writes an event without queueing it. The queue must be empty.
    pub(crate) fn send(
        &mut self,
        (index, event): (usize, &EncodedEvent),
        context: &ShardContext,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        self.passed = false;
        self.count_event(event, context);
        begin_batch(scratch);
        let retry = self.new_retry(context);
        let mut batch = BodyBatch::new(self.member.as_mut(), scratch);
        retry_line(&mut batch, retry, self.encoding);
        encode_event(&mut batch, &mut self.subscriptions, index, event, self.encoding);
        batch.finish();
        let written = self.writer.write_batch(scratch, cx);
        self.deadlines.progress(context.now);
        let result = self.finish_write(written, scratch, cx);
        self.count_bytes(context);
        result
    }

    /// Handles the result of a write, and continues the end if it has started.
    fn finish_write(
        &mut self,
        written: WriteResult,
        scratch: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> FlushResult {
        match written {
            WriteResult::Broken(reason) => FlushResult::Over(self.closing.unwrap_or(reason)),
            WriteResult::Full { some } => {
                self.deadlines.blocked(some);
                if self.closing.is_some() { self.wait_for_client() } else { FlushResult::Full }
            }
            WriteResult::All => {
                self.deadlines.unblocked();
                if self.closing.is_some() { self.flush_end(scratch, cx) } else { FlushResult::Done }
            }
        }
    }

    /// Finishes the connection after the last event: the end of the body, the node's side of the socket, the client's
    /// side.
    fn flush_end(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_>) -> FlushResult {
        if !self.shut {
            self.shut = true;
            begin_batch(scratch);
            if let Some(member) = &mut self.member {
                member.end(scratch);
            }
            self.writer.finish(scratch);
            match self.writer.write_rest(cx) {
                WriteResult::All => {}
                WriteResult::Full { .. } => return self.wait_for_client(),
                WriteResult::Broken(_) => return self.over(),
            }
        }
        if self.writer.poll_shutdown(cx).is_pending() {
            return self.wait_for_client();
        }
        if self.writer.is_half_closed() || self.writer.poll_peer_close(cx).is_ready() {
            return self.over();
        }
        self.wait_for_client()
    }

    /// Waits until the client closes, after the end was written. Ends at once if the socket may not linger.
    fn wait_for_client(&self) -> FlushResult {
        if self.user_socket.lingers() { FlushResult::Full } else { self.over() }
    }

    fn over(&self) -> FlushResult {
        FlushResult::Over(self.closing.unwrap_or(CloseReason::Closed))
    }

    /// Encodes the next batch, with room for a chunk's head before it.
    fn encode_batch(&mut self, context: &ShardContext, out: &mut Vec<u8>) {
        begin_batch(out);
        // A heartbeat is a comment alone.
        let mut retry = if self.queue.has_block() { self.new_retry(context) } else { None };
        let mut batch = BodyBatch::new(self.member.as_mut(), out);
        // A batch that begins with a new position could be empty.
        while (batch.len() < BATCH_BYTES || self.queue.is_next_moved())
            && let Some(item) = self.queue.pop(self.encoding)
        {
            match item {
                Item::Heartbeat => batch.text().extend_from_slice(self.encoding.dialect.heartbeat()),
                Item::Moved(index, position) => {
                    let subscription = &mut self.subscriptions[usize::from(index)];
                    // Never back: another node may still deliver the lost events after the smaller position.
                    subscription.sent = subscription.sent.max(position);
                }
                Item::Control(block) => {
                    retry_line(&mut batch, retry.take(), self.encoding);
                    let text = batch.text();
                    self.id.write(self.encoding.dialect, &self.subscriptions, text);
                    text.extend_from_slice(&block);
                }
                Item::Event(event, index) => {
                    retry_line(&mut batch, retry.take(), self.encoding);
                    encode_event(
                        &mut batch,
                        &mut self.subscriptions,
                        usize::from(index),
                        &event,
                        self.encoding,
                    );
                }
            }
        }
        batch.finish();
    }
}

/// Begins a block with a `retry:` line, if the client needs one.
fn retry_line(batch: &mut BodyBatch<'_>, retry: Option<u64>, encoding: Encoding) {
    if let Some(ms) = retry {
        encoding.dialect.retry_line(batch.text(), ms);
    }
}

/// Appends an event of the channel at `index`, with the client's cursor after it. An ephemeral event does not change
/// the cursor.
fn encode_event(
    batch: &mut BodyBatch<'_>,
    subscriptions: &mut [Subscription],
    index: usize,
    event: &EncodedEvent,
    encoding: Encoding,
) {
    if let Some(link) = event.link {
        subscriptions[index].sent = link.position;
    }
    Id::Cursor.write(encoding.dialect, subscriptions, batch.text());
    match event.encode(encoding) {
        Encoded::Text(text) => batch.text().extend_from_slice(text),
        Encoded::Compressed(compressed, _) => batch.compressed(compressed),
    }
}

/// Prepares a buffer with room for a chunk's head. Frees the memory of a large earlier batch.
fn begin_batch(scratch: &mut Vec<u8>) {
    if scratch.capacity() > KEPT_SCRATCH {
        *scratch = Vec::new();
    }
    scratch.clear();
    scratch.resize(CHUNK_HEAD, 0);
}
