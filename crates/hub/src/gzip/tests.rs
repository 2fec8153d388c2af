use std::io::Write;

use flate2::write::GzDecoder;
use proptest::prelude::*;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::*;

/// One thing in a body.
#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Compressed(Vec<u8>),
}

impl Part {
    fn text(&self) -> &[u8] {
        match self {
            Self::Text(text) | Self::Compressed(text) => text,
        }
    }
}

/// A client: decodes what arrives at once.
struct Client(GzDecoder<Vec<u8>>);

impl Client {
    fn new() -> Self {
        Self(GzDecoder::new(Vec::new()))
    }

    /// Returns all the text so far.
    fn take(&mut self, bytes: &[u8]) -> &[u8] {
        self.0.write_all(bytes).expect("gzip");
        self.0.flush().expect("gzip");
        self.0.get_ref()
    }

    /// Returns all the text; the trailer must be there and right.
    fn end(self) -> Vec<u8> {
        self.0.finish().expect("a right trailer")
    }
}

/// A client that hands out text only where every decoder does: when it has met an empty stored block, or the end. Go's
/// compress/flate does no more than that, but for a full window.
struct Strict {
    inflate: Inflate,
    /// Decoded, and not handed out.
    held: Vec<u8>,
    text: Vec<u8>,
}

impl Strict {
    fn new() -> Self {
        let (held, text) = (Vec::new(), Vec::new());
        // 16 stands for gzip's header and trailer.
        Self { inflate: Inflate::new(true, 16 + 15), held, text }
    }

    /// Returns all the text that it has handed out so far.
    fn take(&mut self, mut bytes: &[u8]) -> &[u8] {
        let mut decoded = vec![0; 1 << 18];
        while !bytes.is_empty() {
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            // Stops at the end of each block.
            let status = self.inflate.decompress(bytes, &mut decoded, InflateFlush::Block).expect("gzip");
            let (block, rest) = bytes.split_at(usize::try_from(self.inflate.total_in() - taken).unwrap());
            let made = usize::try_from(self.inflate.total_out() - made).unwrap();
            self.held.extend_from_slice(&decoded[..made]);
            if status == Status::StreamEnd || (made == 0 && block.ends_with(&MARK[1..])) {
                self.text.append(&mut self.held);
            }
            assert!(!block.is_empty() || made > 0, "it does not go on");
            bytes = rest;
        }
        &self.text
    }
}

/// One batch.
fn write(member: &mut GzipMember, parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut batch = BodyBatch::new(Some(member), &mut out);
    for part in parts {
        match part {
            Part::Text(text) => batch.text().extend_from_slice(text),
            Part::Compressed(text) => batch.compressed(&CompressedText::new(text)),
        }
    }
    batch.finish();
    out
}

fn end(member: &mut GzipMember) -> Vec<u8> {
    let mut out = Vec::new();
    member.end(&mut out);
    out
}

/// Bytes in which nothing repeats.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn part() -> impl Strategy<Value = Part> {
    let text = prop_oneof![
        6 => "[a-f\":,{}]{0,700}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..700),
        1 => (60_000usize..140_000).prop_map(noise),
        1 => (60_000usize..140_000).prop_map(|length| b"data: again\n".iter().copied().cycle().take(length).collect()),
    ];
    (text, any::<bool>())
        .prop_map(|(text, compressed)| if compressed { Part::Compressed(text) } else { Part::Text(text) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_can_be_read_after_every_write_and_the_trailer_is_right(
        batches in proptest::collection::vec(proptest::collection::vec(part(), 0..5), 0..5),
    ) {
        let (mut member, mut text) = (GzipMember::default(), Vec::<u8>::new());
        let (mut client, mut strict) = (Client::new(), Strict::new());
        for parts in &batches {
            let bytes = write(&mut member, parts);
            text.extend(parts.iter().flat_map(Part::text));
            prop_assert!(client.take(&bytes) == text);
            prop_assert!(strict.take(&bytes) == text, "a decoder that waits for a mark holds text back");
        }
        let bytes = end(&mut member);
        client.take(&bytes);
        prop_assert!(client.end() == text);
        prop_assert!(strict.take(&bytes) == text);
    }

    #[test]
    fn it_does_not_matter_which_writes_arrive_together(
        batches in proptest::collection::vec(proptest::collection::vec(part(), 1..4), 1..8), together in 1usize..5
    ) {
        let (mut member, mut strict) = (GzipMember::default(), Strict::new());
        for batches in batches.chunks(together) {
            let bytes: Vec<u8> = batches.iter().flat_map(|parts| write(&mut member, parts)).collect();
            strict.take(&bytes);
            prop_assert!(strict.held.is_empty());
        }
    }
}

#[test]
fn a_write_that_ends_with_a_compressed_event_has_no_second_marker() {
    let (id, event) = (b"id: 1700000000000-0\n".to_vec(), br#"{"sku":"000017","name":"flange"},"#.repeat(30));
    let mut member = GzipMember::default();
    write(&mut member, &[Part::Text(b":\n".to_vec())]);
    let bytes = write(&mut member, &[Part::Text(id.clone()), Part::Compressed(event.clone())]);
    assert_eq!(bytes.len(), STORED_HEAD + id.len() + CompressedText::new(&event).len());
    assert!(bytes.ends_with(&MARK[1..]));
    // Small things pay for one mark a write, however many they are.
    let small = write(&mut member, &vec![Part::Text(id.clone()); 10]);
    assert_eq!(small.len(), STORED_HEAD + 10 * id.len() + MARK.len());
}

#[test]
fn the_same_blocks_fit_into_every_member() {
    let (first, second) =
        (CompressedText::new(&b"data: one\n".repeat(50)), CompressedText::new(&b"data: two\n".repeat(50)));
    for order in [[&first, &second, &first], [&second, &second, &first]] {
        let (mut member, mut out) = (GzipMember::default(), Vec::new());
        let mut batch = BodyBatch::new(Some(&mut member), &mut out);
        for compressed in order {
            batch.compressed(compressed);
        }
        batch.finish();
        member.end(&mut out);
        let mut client = Client::new();
        client.take(&out);
        let wanted = order.map(|compressed| {
            if compressed.crc == first.crc { "data: one\n" } else { "data: two\n" }.repeat(50)
        });
        assert_eq!(client.end(), wanted.concat().as_bytes());
    }
}

#[test]
fn an_empty_body_is_a_member() {
    let bytes = end(&mut GzipMember::default());
    assert_eq!(bytes.len(), 10 + STORED_HEAD + 8);
    let mut client = Client::new();
    client.take(&bytes);
    assert_eq!(client.end(), b"");
}

#[test]
fn texts_that_follow_each_other_are_one_block() {
    let parts = [Part::Text(b"id: 5-1\n".to_vec()), Part::Text(b"data: x\n\n".to_vec())];
    assert_eq!(write(&mut GzipMember::default(), &parts).len(), 10 + STORED_HEAD + 17 + MARK.len());
}

#[test]
fn incompressible_text_grows_by_block_heads_and_a_marker_only() {
    for length in [0, 1, MIN_COMPRESSED, 65_535, 65_536, 1 << 20] {
        let compressed = CompressedText::new(&noise(length));
        let heads = length.div_ceil(MAX_STORED) * STORED_HEAD;
        assert_eq!(compressed.len(), length + heads + MARK.len(), "{length}");
    }
    let text = br#"{"sku":"000017","name":"flange"},"#.repeat(30);
    assert!(CompressedText::new(&text).len() * 5 < text.len());
}

#[test]
fn a_compressor_without_room_resets_its_history() {
    let mut member = GzipMember::default();
    let parts = [noise(5000), b"data: again\n".repeat(100), noise(5000), b"data: again\n".repeat(100)];
    let mut client = Client::new();
    client.take(&write(&mut member, &parts.clone().map(Part::Compressed)));
    client.take(&end(&mut member));
    assert!(client.end() == parts.concat());
}

#[test]
fn without_a_member_a_batch_is_its_text() {
    let mut out = b"room".to_vec();
    let mut batch = BodyBatch::new(None, &mut out);
    batch.text().extend_from_slice(b"id: 5-1\n");
    batch.text().extend_from_slice(b"data: x\n\n");
    assert_eq!(batch.len(), 21);
    batch.finish();
    assert_eq!(out, b"roomid: 5-1\ndata: x\n\n");
}
