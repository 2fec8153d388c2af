//! The newest bytes of a followed stream, so that its readers need not ask Redis for them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use fanfare_protocol::finite::wire::{Change, State};

/// Maximum number of bytes of a window.
pub(super) const MOST: usize = 32 * 1024;

/// Appended bytes without a hole, up to the end of the stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    generation: u64,
    /// Place of the first byte.
    start: u64,
    bytes: usize,
    chunks: VecDeque<Bytes>,
}

impl Window {
    /// Adds a change. Returns by how many bytes the window has grown.
    pub(super) fn add(&mut self, change: Change) -> isize {
        let before = self.bytes;
        let continues =
            self.generation == change.generation && self.start + self.bytes as u64 == change.start;
        if !continues {
            self.clear();
            (self.generation, self.start) = (change.generation, change.start);
        }
        let is_whole = change.start + change.bytes.len() as u64 == change.tail;
        if !is_whole || change.state != State::Open {
            // The bytes, or the end, are read from Redis.
            self.clear();
            (self.generation, self.start) = (change.generation, change.tail);
        } else if !change.bytes.is_empty() {
            self.bytes += change.bytes.len();
            self.chunks.push_back(change.bytes);
            while self.bytes > MOST {
                let Some(oldest) = self.chunks.pop_front() else { break };
                self.bytes -= oldest.len();
                self.start += oldest.len() as u64;
            }
        }
        self.bytes.cast_signed() - before.cast_signed()
    }

    /// Forgets the bytes. Returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.chunks.clear();
        self.generation = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Returns the bytes from a place on, at most `most`, and the end of the stream; `None` if they are not all here.
    pub(super) fn read(&self, generation: u64, from: u64, most: usize) -> Option<(Bytes, u64)> {
        let tail = self.start + self.bytes as u64;
        if self.generation != generation || from < self.start || from >= tail {
            return None;
        }
        let mut skip = usize::try_from(from - self.start).ok()?;
        let mut out = BytesMut::new();
        for chunk in &self.chunks {
            if skip >= chunk.len() {
                skip -= chunk.len();
                continue;
            }
            let part = chunk.slice(skip..);
            skip = 0;
            if out.is_empty() && part.len() as u64 == tail - from && part.len() <= most {
                return Some((part, tail));
            }
            let room = most - out.len();
            out.extend_from_slice(&part[..part.len().min(room)]);
            if out.len() == most {
                break;
            }
        }
        Some((out.freeze(), tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(start: u64, bytes: &'static [u8]) -> Change {
        let tail = start + bytes.len() as u64;
        Change { generation: 7, start, tail, state: State::Open, bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn bytes_without_a_hole_are_read_from_any_place() {
        let mut window = Window::default();
        assert_eq!(window.add(change(10, b"abc")), 3);
        assert_eq!(window.add(change(13, b"de")), 2);
        assert_eq!(window.read(7, 10, 100), Some((Bytes::from("abcde"), 15)));
        assert_eq!(window.read(7, 12, 2), Some((Bytes::from("cd"), 15)));
        assert_eq!(window.read(7, 13, 100), Some((Bytes::from("de"), 15)));
        for (generation, from) in [(7, 9), (7, 15), (7, 16), (8, 10)] {
            assert_eq!(window.read(generation, from, 100), None, "{generation} {from}");
        }
    }

    #[test]
    fn a_hole_a_large_append_and_an_end_empty_the_window() {
        let mut window = Window::default();
        window.add(change(0, b"abc"));
        assert_eq!(window.add(change(5, b"x")), -2);
        assert_eq!(window.read(7, 0, 9), None);
        assert_eq!(window.read(7, 5, 9), Some((Bytes::from("x"), 6)));
        assert_eq!(window.add(Change { tail: 100, ..change(6, b"") }), -1);
        assert_eq!(window.read(7, 6, 9), None);
        window.add(change(100, b"y"));
        assert_eq!(window.add(Change { state: State::Closed, ..change(101, b"z") }), -1);
        assert_eq!(window.read(7, 100, 9), None);
    }

    #[test]
    fn a_window_is_bounded() {
        let mut window = Window::default();
        let large = Bytes::from(vec![b'x'; 10_000]);
        for n in 0..10_u64 {
            let (start, tail) = (n * 10_000, (n + 1) * 10_000);
            window.add(Change { generation: 7, start, tail, state: State::Open, bytes: large.clone() });
        }
        assert!(window.bytes <= MOST);
        assert_eq!(window.read(7, 99_999, 9), Some((Bytes::from("x"), 100_000)));
    }
}
