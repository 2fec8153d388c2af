//! The lines of stdin, as batches of publications.

use std::io::{self, BufRead, Read};

use anyhow::Context;
use fanfare_protocol::Channel;
use fanfare_protocol::event::{Event, EventType, MAX_DATA_BYTES};
use fanfare_protocol::publish::Publication;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many events one call carries at most.
const BATCH_EVENTS: usize = 100;
/// A call is sent once its lines have so many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// The longest line that is read, in bytes: the largest event there is, with every byte escaped.
const LINE_BYTES: u64 = 6 * MAX_DATA_BYTES as u64 + 4096;

/// What a line stands for.
pub(crate) enum Line {
    /// The data of an event that is otherwise like all others.
    Data {
        /// Where they all go.
        channel: Channel,
        /// Their type.
        kind: Option<EventType>,
        /// Whether they are kept.
        ephemeral: bool,
    },
    /// A whole publication in JSON.
    Publication,
}

/// What is sent in one call.
#[derive(Default)]
pub(crate) struct Batch {
    /// The publications.
    pub(crate) items: Vec<Value>,
    /// The number of the line each came from, counted from 1.
    pub(crate) numbers: Vec<usize>,
    /// Lines that are no publications, and why.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Reads stdin on a thread of its own, since that blocks.
pub(crate) struct Lines {
    line: Line,
    /// How many lines were taken so far.
    count: usize,
    /// What comes, at most a batch ahead.
    coming: mpsc::Receiver<String>,
    /// Ends with stdin, or when `coming` is dropped and another line comes.
    reader: JoinHandle<io::Result<()>>,
}

impl Lines {
    /// Begins to read.
    pub(crate) fn read(line: Line) -> Self {
        let (sender, coming) = mpsc::channel(BATCH_EVENTS);
        let reader = tokio::task::spawn_blocking(move || forward(&mut io::stdin().lock(), &sender));
        Self { line, count: 0, coming, reader }
    }

    /// The lines that are there, up to a batch, waiting for the first; none at the end.
    ///
    /// # Errors
    ///
    /// When a JSON line cannot be carried on.
    pub(crate) async fn batch(&mut self) -> anyhow::Result<Option<Batch>> {
        let Some(first) = self.coming.recv().await else { return Ok(None) };
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(text) = next {
            self.count += 1;
            bytes += text.len();
            match self.line.publication(&text) {
                Ok(item) => {
                    batch.items.push(item);
                    batch.numbers.push(self.count);
                }
                Err(error) => batch.refused.push((self.count, error.to_string())),
            }
            if batch.items.len() == BATCH_EVENTS || bytes >= BATCH_BYTES {
                break;
            }
            next = self.coming.try_recv().ok();
        }
        Ok(Some(batch))
    }

    /// Whether stdin was read to its end.
    ///
    /// # Errors
    ///
    /// When it could not be.
    pub(crate) async fn join(self) -> anyhow::Result<()> {
        drop(self.coming);
        self.reader.await.context("the reader of stdin broke")?.context("stdin cannot be read")
    }
}

impl Line {
    fn publication(&self, text: &str) -> anyhow::Result<Value> {
        match self {
            Self::Data { channel, kind, ephemeral } => {
                let event = Event::new(kind.clone(), text.to_owned(), MAX_DATA_BYTES)?;
                let publication =
                    Publication { channel: channel.clone(), event, key: None, ephemeral: *ephemeral };
                Ok(publication.to_json())
            }
            Self::Publication => serde_json::from_str(text).context("not JSON"),
        }
    }
}

fn forward(input: &mut impl BufRead, sender: &mpsc::Sender<String>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if input.take(LINE_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES {
            return Err(io::Error::other(format!("a line has more than {LINE_BYTES} bytes")));
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        if sender.blocking_send(line).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_endings_and_nothing_else() {
        let (sender, mut coming) = mpsc::channel(8);
        forward(&mut &b"one\r\n\n two \nlast"[..], &sender).unwrap();
        drop(sender);
        let got: Vec<String> = std::iter::from_fn(|| coming.blocking_recv()).collect();
        assert_eq!(got, ["one", "", " two ", "last"]);
    }

    #[test]
    fn a_line_is_data_verbatim_or_a_publication() {
        let channel = Channel::new("room:7").unwrap();
        let data = Line::Data { channel, kind: None, ephemeral: true };
        let item = data.publication(r#"{"a": 1}"#).unwrap();
        assert_eq!(item.to_string(), r#"{"channel":"room:7","data":"{\"a\": 1}","ephemeral":true}"#);
        assert!(Line::Publication.publication("{").is_err());
    }
}
