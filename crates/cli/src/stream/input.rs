//! What stdin has, in batches: a slow source is sent at once, and a fast one not piece by piece.

use std::io::{self, Read};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Size of one read, in bytes.
const PIECE: usize = 64 * 1024;
/// Number of reads ahead.
const AHEAD: usize = 8;
/// Size of a batch, in bytes, beyond which it is sent.
const BATCH: usize = 256 * 1024;
/// Maximum length of a line of JSON, in bytes: what is stored of a message, and as much white space.
const LINE: usize = 2 * 1024 * 1024;

/// Stdin, read on a thread apart, since reading blocks.
pub(super) struct Input {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Whether a batch has whole lines.
    is_lines: bool,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
}

/// What has arrived.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Why there are no more: the end, or an error.
    pub(super) stop: Option<io::Result<()>>,
}

impl Input {
    /// Begins to read. `is_lines`: a batch has whole lines.
    pub(super) fn open(is_lines: bool) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut stdin = io::stdin().lock();
            let mut piece = vec![0; PIECE];
            loop {
                let read = match stdin.read(&mut piece) {
                    Ok(0) => return,
                    Ok(n) => Ok(piece[..n].to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let has_failed = read.is_err();
                if sender.blocking_send(read).is_err() || has_failed {
                    return;
                }
            }
        });
        Self { pieces, is_lines, rest: Vec::new() }
    }

    /// Waits for bytes, and returns all that have arrived, at most a batch. Cancel-safe: nothing is taken before it returns.
    pub(super) async fn next(&mut self) -> Batch {
        let first = self.pieces.recv().await;
        self.gather(first)
    }

    /// Returns all that has arrived.
    pub(super) fn now(&mut self) -> Batch {
        match self.pieces.try_recv() {
            Ok(piece) => self.gather(Some(piece)),
            Err(_) => Batch::default(),
        }
    }

    fn gather(&mut self, mut piece: Option<io::Result<Vec<u8>>>) -> Batch {
        let mut batch = Batch { bytes: std::mem::take(&mut self.rest), stop: None };
        loop {
            match piece {
                None => batch.stop = Some(Ok(())),
                Some(Err(error)) => batch.stop = Some(Err(error)),
                Some(Ok(bytes)) => batch.bytes.extend(bytes),
            }
            if batch.stop.is_some() || batch.bytes.len() >= BATCH {
                break;
            }
            piece = match self.pieces.try_recv() {
                Ok(next) => Some(next),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => break,
            };
        }
        if self.is_lines && batch.stop.is_none() {
            let end = batch.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.rest = batch.bytes.split_off(end);
            if self.rest.len() > LINE {
                let detail = format!("a line has more than {LINE} bytes");
                batch.stop = Some(Err(io::Error::new(io::ErrorKind::InvalidData, detail)));
            }
        }
        batch
    }
}

/// Returns lines, each with a message, as an array. Empty if there is none.
pub(super) fn array(lines: &[u8]) -> Vec<u8> {
    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let messages: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    if messages.is_empty() { Vec::new() } else { [b"[", &*messages.join(&b","[..]), b"]"].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn input(is_lines: bool, pieces: &[&str]) -> Input {
        let (sender, receiver) = mpsc::channel(AHEAD);
        for piece in pieces {
            sender.send(Ok(piece.as_bytes().to_vec())).await.unwrap();
        }
        Input { pieces: receiver, is_lines, rest: Vec::new() }
    }

    #[tokio::test]
    async fn a_batch_has_all_that_waits_and_then_the_end() {
        let mut bytes = input(false, &["a", "b", "c"]).await;
        let batch = bytes.next().await;
        assert_eq!((&*batch.bytes, batch.stop.is_some()), (&b"abc"[..], true));
        let mut large = input(false, &[&"x".repeat(BATCH), "y"]).await;
        assert_eq!(large.next().await.bytes.len(), BATCH);
        assert_eq!(large.next().await.bytes, b"y");
    }

    #[tokio::test]
    async fn a_batch_of_lines_ends_with_one_and_the_last_needs_no_end() {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let mut lines = Input { pieces, is_lines: true, rest: Vec::new() };
        sender.send(Ok(b"1\n{\"a\":".to_vec())).await.unwrap();
        assert_eq!(lines.next().await.bytes, b"1\n");
        sender.send(Ok(b"2}\n\n3".to_vec())).await.unwrap();
        assert_eq!(lines.next().await.bytes, b"{\"a\":2}\n\n");
        drop(sender);
        let last = lines.next().await;
        assert_eq!((&*last.bytes, last.stop.is_some()), (&b"3"[..], true));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_bounded() {
        let mut lines =
            input(true, &vec!["x".repeat(LINE / 4 + 1); 4].iter().map(|s| &**s).collect::<Vec<_>>()).await;
        while lines.next().await.stop.transpose().is_ok_and(|stop| stop.is_none()) {}
        assert!(lines.rest.len() > LINE);
    }

    #[test]
    fn lines_are_an_array_of_messages() {
        assert_eq!(array(b"1\n {\"a\": 2}\r\n\n[3]"), b"[1,{\"a\": 2},[3]]");
        assert_eq!(array(b"\n \n"), b"");
    }
}
