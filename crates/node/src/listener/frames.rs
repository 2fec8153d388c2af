//! Rate limit of the control frames of an HTTP/2 client (RFC 9113, section 4.1): frames that cause work and carry no data
//! (`limits.control_frames`).
//!
//! A flood of them costs the client almost nothing and the node a core (CVE-2019-9512, CVE-2019-9515, CVE-2019-9518,
//! CVE-2024-27316). h2 does not report frames, so the input is parsed before h2 gets it.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::detect::PREFACE;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The length of a frame's head.
const HEAD: usize = 9;
/// DATA frames below this length count as control frames, in bytes.
const SHORT: usize = 16;
/// Maximum burst, in seconds of the rate.
const BURST: u32 = 10;
/// Number of bytes sent to the client that allow one more frame, since the client acknowledges what it receives.
const SENT_A_FRAME: f64 = 32.0;

/// Counts the frames of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes of the preface or of a payload that have not arrived yet.
    skip: usize,
    head: [u8; HEAD],
    /// Number of bytes of the head that have arrived.
    filled: usize,
    /// Bytes of an incomplete header block; 0 without one.
    block: usize,
    /// Number of frames that are allowed now.
    credit: f64,
    /// Number of further frames allowed per second.
    rate: f64,
    since: Instant,
    flooded: CancellationToken,
}

impl Meter {
    /// Creates a meter that starts at the preface; `rate` is in frames per second.
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

    /// Returns a token that is cancelled when the client has exceeded the limit.
    pub(super) fn flooded(&self) -> CancellationToken {
        self.flooded.clone()
    }

    /// Returns whether the client has exceeded the limit.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.is_cancelled()
    }

    /// Returns the number of bytes of an incomplete header block.
    pub(super) fn open_head(&self) -> usize {
        self.block
    }

    /// Counts bytes that were sent to the client.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let most = self.rate * f64::from(BURST);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.credit = (self.credit + bytes / SENT_A_FRAME).min(most);
    }

    /// Counts the frames in received bytes.
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

    /// Handles a complete frame head. Returns its cost.
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

    /// Returns how many of these frames are allowed, at most 10,000, if they arrive in pieces of `piece` bytes.
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
    async fn control_frames_are_limited() {
        for (name, bytes) in [
            ("PING", frame(8, 0x6, 0)),
            ("an unrequested PING acknowledgement", frame(8, 0x6, 1)),
            ("SETTINGS", frame(6, 0x4, 0)),
            ("empty SETTINGS", frame(0, 0x4, 0)),
            ("PRIORITY", frame(5, 0x2, 0)),
            ("RST_STREAM", frame(4, 0x3, 0)),
            ("WINDOW_UPDATE", frame(4, 0x8, 0)),
            ("CONTINUATION", frame(0, CONTINUATION, 0)),
            ("empty DATA", frame(0, DATA, 0)),
            ("only padding", frame(200, DATA, PADDED)),
            ("a byte of DATA", frame(1, DATA, 0)),
            ("an unknown frame", frame(20, 0x42, 0)),
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
    async fn a_client_may_send_at_the_rate_and_acknowledge_what_it_receives() {
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
    fn an_incomplete_header_block_is_measured() {
        let mut meter = Meter::new(10);
        meter.read(PREFACE);
        meter.read(&frame(100, HEADERS, 0));
        meter.read(&frame(50, CONTINUATION, 0));
        assert_eq!(meter.open_head(), 150 + 2 * HEAD);
        meter.read(&frame(50, CONTINUATION, END_HEADERS));
        assert_eq!(meter.open_head(), 0);
    }
}
