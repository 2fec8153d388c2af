//! Encoding an event as SSE text: `cargo bench --package fanfare-protocol`.

#![allow(missing_docs, reason = "a benchmark has no users")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use fanfare_protocol::sse::{Format, frame};
use fanfare_protocol::{Channel, Event, EventType, Position};

const SIZES: [usize; 4] = [100, 1024, 16 * 1024, 60 * 1024];

fn main() {
    divan::main();
}

fn encode(bencher: Bencher<'_, '_>, format: Format, bytes: usize) {
    let channel = Channel::new("room:7").expect("a channel");
    let kind = EventType::new("order.paid").expect("a type");
    let event = Event::new(Some(kind), "x".repeat(bytes), bytes).expect("an event");
    let position = Position::new(1_700_000_000_000, 1);
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| frame(format, black_box(&channel), black_box(&event), Some(position), position.ms));
}

#[divan::bench(args = SIZES)]
fn raw(bencher: Bencher<'_, '_>, bytes: usize) {
    encode(bencher, Format::Raw, bytes);
}

#[divan::bench(args = SIZES)]
fn json(bencher: Bencher<'_, '_>, bytes: usize) {
    encode(bencher, Format::Json, bytes);
}
