//! Batches of publications from the lines of stdin.
//!
//! A line that cannot be published is reported with its number and does not affect the other lines.

use std::io::{self, BufRead};
use std::sync::Arc;

use anyhow::Context;
use fanfare_protocol::event::{Event, EventType, MAX_DATA_BYTES};
use fanfare_protocol::json;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Except};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Maximum number of events in one call.
const BATCH_EVENTS: usize = 100;
/// A call is sent once its lines have this many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// Maximum length of a line, in bytes: the largest event, with every byte escaped.
const LINE_BYTES: usize = 6 * MAX_DATA_BYTES + 4096;
/// Maximum bytes of lines that are read ahead.
const AHEAD_BYTES: usize = 2 * LINE_BYTES;

/// Interpretation of a line.
pub(crate) enum Line {
    /// The line is the data of an event.
    Data {
        /// Channel of all events.
        channel: Channel,
        /// Further channels of all events.
        also: Vec<Channel>,
        /// Type of all events.
        kind: Option<EventType>,
        /// Whether the events are ephemeral.
        ephemeral: bool,
        /// The session that gets none of the events.
        except: Option<Except>,
    },
    /// The line is a publication in JSON.
    Publication,
}

/// The lines of one call.
#[derive(Default)]
pub(crate) struct Batch {
    /// The publications, each as JSON text.
    pub(crate) items: Vec<String>,
    /// Line number of each publication, from 1.
    pub(crate) numbers: Vec<u64>,
    /// Numbers of lines that are not publications, with the reason.
    pub(crate) refused: Vec<(u64, String)>,
}

/// A line that was read.
struct Coming {
    number: u64,
    text: Result<String, String>,
    /// Share of [`AHEAD_BYTES`], held until the line is in a batch.
    _ahead: Option<OwnedSemaphorePermit>,
}

/// Reads stdin on a separate thread, since reading blocks.
pub(crate) struct Lines {
    line: Line,
    /// Lines read, at most a batch ahead.
    coming: mpsc::Receiver<Coming>,
    /// Ends with stdin, or when `coming` is dropped and another line comes.
    reader: JoinHandle<io::Result<()>>,
}

impl Lines {
    /// Starts reading.
    pub(crate) fn read(line: Line) -> Self {
        let (sender, coming) = mpsc::channel(BATCH_EVENTS);
        let runtime = Handle::current();
        let reader = tokio::task::spawn_blocking(move || forward(&mut io::stdin().lock(), &sender, &runtime));
        Self { line, coming, reader }
    }

    /// Returns the lines that are available, at most a batch; waits for the first one. Returns `None` at the end.
    /// Cancel-safe.
    pub(crate) async fn batch(&mut self) -> Option<Batch> {
        let mut next = Some(self.coming.recv().await?);
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(Coming { number, text, _ahead }) = next {
            match text.and_then(|text| self.line.publication(&text)) {
                Ok(Some(item)) => {
                    bytes += item.len();
                    batch.items.push(item);
                    batch.numbers.push(number);
                }
                Ok(None) => {}
                Err(why) => batch.refused.push((number, why)),
            }
            if batch.items.len() == BATCH_EVENTS || bytes >= BATCH_BYTES {
                break;
            }
            next = self.coming.try_recv().ok();
        }
        Some(batch)
    }

    /// Waits until stdin is read to the end.
    ///
    /// # Errors
    ///
    /// Fails if reading failed.
    pub(crate) async fn join(self) -> anyhow::Result<()> {
        drop(self.coming);
        self.reader.await.context("the reader of stdin panicked")?.context("cannot read stdin")
    }
}

impl Line {
    /// Returns the publication of a line as JSON, or `None` for a blank line.
    fn publication(&self, text: &str) -> Result<Option<String>, String> {
        match self {
            // An empty line is an event whose data is empty.
            Self::Data { channel, also, kind, ephemeral, except } => {
                let event = Event::new(kind.clone(), text.to_owned(), MAX_DATA_BYTES);
                let event = event.map_err(|error| error.to_string())?.except(except.clone());
                let publication =
                    Publication { channel: channel.clone(), event, key: None, ephemeral: *ephemeral };
                let json =
                    if also.is_empty() { publication.to_json() } else { publication.to_json_for(also) };
                Ok(Some(json.to_string()))
            }
            Self::Publication if text.trim_ascii().is_empty() => Ok(None),
            // Sent verbatim: the server validates it.
            Self::Publication => {
                let text = json::text(text.as_bytes()).map_err(|error| format!("the line {error}"))?;
                let item: &RawValue =
                    serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
                Ok(Some(item.get().to_owned()))
            }
        }
    }
}

/// Sends each line to the channel. Waits while [`AHEAD_BYTES`] are used up.
fn forward(input: &mut impl BufRead, sender: &mpsc::Sender<Coming>, runtime: &Handle) -> io::Result<()> {
    let ahead = Arc::new(Semaphore::new(AHEAD_BYTES));
    let mut number = 0;
    while let Some(text) = next_line(input)? {
        number += 1;
        let bytes = text.as_ref().map_or(0, String::len).min(LINE_BYTES);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let permit = runtime.block_on(Arc::clone(&ahead).acquire_many_owned(permits)).ok();
        if sender.blocking_send(Coming { number, text, _ahead: permit }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a line without its ending (LF or CR LF); `None` at the end. A line that is too long is read to its end and
/// discarded.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, String>>> {
    let mut line = Vec::new();
    let mut length: u64 = 0;
    loop {
        let read = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read.is_empty() && length == 0 {
            return Ok(None);
        }
        let end = read.iter().position(|&byte| byte == b'\n');
        let part = &read[..end.unwrap_or(read.len())];
        // Two bytes more than the limit, so that a trailing CR does not make the line too long.
        let room = (LINE_BYTES + 2).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        length += part.len() as u64;
        let (taken, is_over) = (part.len() + usize::from(end.is_some()), end.is_some() || read.is_empty());
        input.consume(taken);
        if is_over {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.len() > LINE_BYTES {
        return Ok(Some(Err(format!("the line has {length} bytes; at most {LINE_BYTES} are allowed"))));
    }
    Ok(Some(String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("the line is not UTF-8 at byte {at}; only UTF-8 can be sent as server-sent events")
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut input: &[u8]) -> Vec<Result<String, String>> {
        std::iter::from_fn(|| next_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn lines_lose_their_endings_and_nothing_else() {
        let got: Vec<_> = read(b"one\r\n\n two \nlast").into_iter().map(Result::unwrap).collect();
        assert_eq!(got, ["one", "", " two ", "last"]);
        assert_eq!(read(b"\r\n").len(), 1);
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_bad_line_is_refused_and_the_next_is_read() {
        let got = read(b"one\nab\xff\nthree");
        assert_eq!(got[0].as_deref(), Ok("one"));
        assert!(got[1].as_ref().unwrap_err().contains("not UTF-8 at byte 2"));
        assert_eq!(got[2].as_deref(), Ok("three"));
    }

    #[test]
    fn of_a_line_that_is_too_long_only_the_length_is_kept() {
        for (bytes, fits) in [(LINE_BYTES, true), (LINE_BYTES + 1, false), (5 * LINE_BYTES, false)] {
            let mut input = vec![b'x'; bytes];
            input.extend_from_slice(b"\r\nnext");
            let got = read(&input);
            assert_eq!(got[0].is_ok(), fits, "{bytes}");
            assert!(
                fits || got[0]
                    .as_ref()
                    .unwrap_err()
                    .starts_with(&format!("the line has {} bytes", bytes + 1))
            );
            assert_eq!(got[1].as_deref(), Ok("next"));
        }
    }

    #[test]
    fn a_line_is_data_verbatim_or_a_publication_as_it_was_written() {
        let channel = Channel::new("room:7").unwrap();
        let data = Line::Data { channel, also: Vec::new(), kind: None, ephemeral: true, except: None };
        let item = data.publication(r#"{"a": 1}"#).unwrap().unwrap();
        assert_eq!(item, r#"{"channel":"room:7","data":"{\"a\": 1}","ephemeral":true}"#);
        let odd = r#"{"channel":"a","data":{"a":1E5,"a":{"$serde_json::private::RawValue":"2"}}}"#;
        assert_eq!(Line::Publication.publication(&format!(" {odd} ")).unwrap().unwrap(), odd);
        assert_eq!(Line::Publication.publication(" \t"), Ok(None));
        assert!(Line::Publication.publication("{").unwrap_err().starts_with("invalid JSON"));
        assert!(Line::Publication.publication("\u{feff}{}").unwrap_err().contains("byte order mark"));
        assert!(data.publication("").unwrap().unwrap().contains(r#""data":"""#));
    }
}
