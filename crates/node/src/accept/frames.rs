//! The frames of an HTTP/2 client as they come (RFC 9113, section 4.1), of which those that ask for work and carry nothing
//! are bounded in number: `limits.control_frames`.
//!
//! Floods of them cost a core and next to nothing to send (CVE-2019-9512, CVE-2019-9515, CVE-2019-9518, CVE-2024-27316).
//! h2 does not show them, so the bytes are looked at on their way to it.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::protocol::PREFACE;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The length of a frame's head.
const HEAD: usize = 9;
/// A frame of data that is shorter carries as good as nothing.
const SHORT: usize = 16;
/// How many frames may come at once after a quiet time, as seconds of the rate.
const BURST: u32 = 10;
/// For so many bytes that the client is sent it may send one frame more: it acknowledges what it takes.
const SENT_A_FRAME: f64 = 32.0;

/// Counts the frames of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head there is.
    filled: usize,
    /// Bytes of the header block that has begun and has not ended; 0 without one.
    block: usize,
    /// How many frames may come now.
    credit: f64,
    /// How many more may come each second.
    rate: f64,
    since: Instant,
    flooded: CancellationToken,
}

impl Meter {
    /// Counts from the preface on; `rate` is the number of frames a second.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            skip: PREFACE.len(),
            head: [0; HEAD],
            filled: 0,
            block: 0,
            credit: f64::from(rate) * f64::from(BURST),
            rate: f64::from(rate),
            since: Instant::now(),
            flooded: CancellationToken::new(),
        }
    }

    /// Is cancelled when there were too many.
    pub(super) fn flooded(&self) -> CancellationToken {
        self.flooded.clone()
    }

    /// Whether there were too many.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.is_cancelled()
    }

    /// How many bytes of a head came that is not whole yet.
    pub(super) fn open_head(&self) -> usize {
        self.block
    }

    /// Bytes that were sent to the client.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let most = self.rate * f64::from(BURST);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.credit = (self.credit + bytes / SENT_A_FRAME).min(most);
    }

    /// Bytes that came.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut cost = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                rest = &rest[skipped..];
                continue;
            }
            let n = (HEAD - self.filled).min(rest.len());
            self.head[self.filled..self.filled + n].copy_from_slice(&rest[..n]);
            self.filled += n;
            rest = &rest[n..];
            if self.filled == HEAD {
                self.filled = 0;
                cost += self.frame();
            }
        }
        if cost > 0 {
            self.charge(cost);
        }
    }

    /// A frame's head is whole. Answers what it costs.
    fn frame(&mut self) -> u32 {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        match kind {
            HEADERS | CONTINUATION => {
                self.block = if flags & END_HEADERS == 0 { self.block + length + HEAD } else { 0 };
                u32::from(kind == CONTINUATION)
            }
            DATA if flags & PADDED != 0 => 1,
            DATA => u32::from(length < SHORT && flags & END_STREAM == 0),
            _ => 1,
        }
    }

    fn charge(&mut self, cost: u32) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.credit = (self.credit + passed * self.rate).min(self.rate * f64::from(BURST)) - f64::from(cost);
        if self.credit < 0.0 {
            self.flooded.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(length: usize, kind: u8, flags: u8) -> Vec<u8> {
        let mut frame =
            vec![0, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 255).unwrap(), kind, flags];
        frame.extend_from_slice(&[0, 0, 0, 1]);
        frame.resize(HEAD + length, 0xff);
        frame
    }

    /// How many of these frames come before there are too many, in pieces of so many bytes; at most 10,000.
    fn most(frame: &[u8], piece: usize) -> usize {
        let mut meter = Meter::new(10);
        meter.read(PREFACE);
        (0..10_000)
            .take_while(|_| {
                frame.chunks(piece).for_each(|bytes| meter.read(bytes));
                !meter.is_flooded()
            })
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_are_bounded_in_number() {
        for (name, bytes) in [
            ("PING", frame(8, 0x6, 0)),
            ("the answer to no PING", frame(8, 0x6, 1)),
            ("SETTINGS", frame(6, 0x4, 0)),
            ("empty SETTINGS", frame(0, 0x4, 0)),
            ("PRIORITY", frame(5, 0x2, 0)),
            ("RST_STREAM", frame(4, 0x3, 0)),
            ("WINDOW_UPDATE", frame(4, 0x8, 0)),
            ("CONTINUATION", frame(0, CONTINUATION, 0)),
            ("empty DATA", frame(0, DATA, 0)),
            ("nothing but padding", frame(200, DATA, PADDED)),
            ("a byte of DATA", frame(1, DATA, 0)),
            ("a frame that is not known", frame(20, 0x42, 0)),
        ] {
            for piece in [1, 7, 1000] {
                assert_eq!(most(&bytes, piece), 100, "{name} in pieces of {piece}");
            }
        }
        for (name, bytes) in [
            ("DATA", frame(1000, DATA, 0)),
            ("the end of a body", frame(0, DATA, END_STREAM)),
            ("HEADERS", frame(20, HEADERS, END_HEADERS)),
        ] {
            assert_eq!(most(&bytes, 1000), 10_000, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_send_on_at_the_rate_and_acknowledge_what_it_takes() {
        let mut meter = Meter::new(10);
        meter.read(PREFACE);
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(100)).await;
            meter.read(&frame(4, 0x8, 0));
        }
        for _ in 0..1000 {
            meter.wrote(64);
            meter.read(&[frame(4, 0x8, 0), frame(4, 0x8, 0)].concat());
        }
        assert!(!meter.is_flooded());
    }

    #[test]
    fn a_head_that_is_not_whole_is_measured() {
        let mut meter = Meter::new(10);
        meter.read(PREFACE);
        meter.read(&frame(100, HEADERS, 0));
        meter.read(&frame(50, CONTINUATION, 0));
        assert_eq!(meter.open_head(), 150 + 2 * HEAD);
        meter.read(&frame(50, CONTINUATION, END_HEADERS));
        assert_eq!(meter.open_head(), 0);
    }
}
