//! A client: reads as fast or as slow as it likes, remembers its cursor as a browser does, comes back anywhere.

use std::collections::BTreeMap;

use fanfare_hub::stream::Coding;
use fanfare_protocol::{Channel, Cursor, Position, Start};
use fanfare_testkit::coding;
use fanfare_testkit::head::Head;
use fanfare_testkit::sse::{Block, Reader};

use crate::ledger::{Gap, Moments, Received};
use crate::traffic::Number;

/// What a client knows.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its last event id.
    pub(crate) cursor: Option<String>,
    /// Decodes the stream of the connection.
    coding: coding::Coding,
    /// Reads the stream of the connection.
    reader: Reader,
    /// What it received in each channel since it followed it without a break.
    pub(crate) channels: BTreeMap<Channel, Received>,
    /// Channels that it followed before and does not any more, with what it received in them.
    pub(crate) left: Vec<(Channel, Received)>,
    /// What it asked for when it connected last.
    follows: Vec<Channel>,
    /// Where channels must begin that it follows for the first time, if that was said.
    tips: BTreeMap<Channel, Position>,
    /// The channel of the last block, if that was a gap.
    gap: Option<Channel>,
    /// The newest ephemeral event of each channel on this connection.
    ephemeral: BTreeMap<Channel, u64>,
    /// Which of its connections this is: bytes of an older one are not taken.
    pub(crate) connection: u64,
    /// Every event that it received, on whichever connection.
    pub(crate) deliveries: Vec<Number>,
    pub(crate) trace: Vec<String>,
    moments: Moments,
}

impl Client {
    pub(crate) fn new(moments: Moments) -> Self {
        Self {
            cursor: None,
            coding: coding::Coding::Identity,
            reader: Reader::default(),
            channels: BTreeMap::new(),
            left: Vec::new(),
            follows: Vec::new(),
            tips: BTreeMap::new(),
            gap: None,
            ephemeral: BTreeMap::new(),
            connection: 0,
            deliveries: Vec::new(),
            trace: Vec::new(),
            moments,
        }
    }

    /// Opens a new connection in this coding: forgets half a block, and the channels that it no longer follows. Answers where the
    /// stream is to begin: at its cursor, or at `first` if it has none yet.
    pub(crate) fn reconnect(&mut self, follows: Vec<Channel>, first: Start, coding: Coding) -> Start {
        let name = if coding == Coding::Gzip { "gzip" } else { "" };
        let head = Head { fields: vec![("content-encoding".into(), name.into())], ..Head::default() };
        self.coding = coding::Coding::of(&head).expect("a coding that the reader knows");
        self.reader = Reader::resuming(self.cursor.as_deref().unwrap_or_default());
        self.ephemeral.clear();
        self.connection += 1;
        let gone: Vec<Channel> = self.channels.keys().filter(|c| !follows.contains(c)).cloned().collect();
        for channel in gone {
            if let Some(received) = self.channels.remove(&channel) {
                self.left.push((channel, received));
            }
        }
        self.channels.values_mut().for_each(Received::forget_gaps);
        self.gap = None;
        self.tips.clear();
        self.follows = follows;
        self.trace.push(format!("reconnect {:?} with {:?}", self.follows, self.cursor));
        match &self.cursor {
            Some(cursor) => Start::parse(cursor).expect("a cursor that a node sent is one"),
            None => first,
        }
    }

    /// Says where a channel must begin, if the client does not follow it yet.
    pub(crate) fn expect_tip(&mut self, channel: Channel, tip: Position) {
        self.tips.insert(channel, tip);
    }

    /// Takes bytes of a connection. Answers false if it has a newer one.
    pub(crate) fn take(&mut self, connection: u64, bytes: &[u8]) -> bool {
        if connection != self.connection {
            return false;
        }
        let text = self.coding.feed(bytes.to_vec()).unwrap_or_else(|e| panic!("{e}"));
        let mut blocks = Vec::new();
        self.reader.feed(&text, |block, last_id| blocks.push((block.clone(), last_id.to_owned())));
        assert_eq!(self.reader.bare(), 0, "a block without data after {blocks:?}");
        for (block, last_id) in blocks {
            self.take_block(&block, &last_id);
        }
        true
    }

    fn take_block(&mut self, block: &Block, last_id: &str) {
        let data = block.data.as_deref().expect("a block without data is counted as bare");
        // An ephemeral event bears the time of this machine, which no seed repeats.
        let is_ephemeral = data.contains("ephemeral");
        let shown: String = if is_ephemeral { "ephemeral" } else { data }.chars().take(300).collect();
        self.trace.push(format!("{} {last_id} {:?} {shown}", block.kind, self.reader.retry()));
        let (kind, id) = (block.kind.as_str(), block.has_id.then_some(last_id));
        assert!(id.is_some() || self.cursor.is_none(), "no id, though the client has a cursor: {block:?}");
        // A gap moves its own channel only.
        if is_ephemeral || !["", "connected", "gap"].contains(&kind) {
            assert_eq!(id, self.cursor.as_deref(), "what is not kept moves nothing: {block:?}");
        }
        let before = self.cursor.clone();
        if let Some(id) = id {
            self.cursor = Some(id.to_owned());
        }
        let gap = self.gap.take();
        let of = match kind {
            "connected" => {
                self.connected();
                None
            }
            "gap" => {
                self.take_gap(data, &before.expect("a gap follows the first block"));
                None
            }
            "" => self.event(data),
            _ => None,
        };
        if let Some(gap) = gap.filter(|gap| of.as_ref() != Some(gap)) {
            // The newest may have come just now.
            let received = self.channels.get_mut(&gap).expect("a channel that is followed");
            let number = received.gaps.len() - 1 - usize::from(self.gap.as_ref() == Some(&gap));
            received.gaps[number].alone = true;
        }
    }

    /// Takes a gap; `before` is the cursor before it.
    fn take_gap(&mut self, data: &str, before: &str) {
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let channel = Channel::new(data["channel"].as_str().expect("a name")).expect("a channel");
        let moved = self.moved_by_gap(before, &channel);
        let received = self.channels.get_mut(&channel).expect("a channel that is followed");
        received.gaps.push(Gap {
            place: received.numbers.len(),
            at: self.moments.next(),
            connection: self.connection,
            moved,
            alone: false,
            forgotten: false,
        });
        self.gap = Some(channel);
    }

    /// Returns where a gap in this channel moved the cursor, which was `before`. It moves no other channel, and none back.
    fn moved_by_gap(&self, before: &str, channel: &Channel) -> Option<Position> {
        let now = Cursor::parse(self.cursor.as_deref().expect("each block has an id")).expect("a cursor");
        let before = Cursor::parse(before).expect("a cursor");
        for other in self.follows.iter().filter(|other| *other != channel) {
            assert_eq!(position(&before, other), position(&now, other), "a gap in {channel} moves {other}");
        }
        let (before, now) = (position(&before, channel), position(&now, channel));
        assert!(before <= now, "a gap moves {channel} back");
        (before < now).then_some(now)
    }

    /// The cursor of the first block says where each channel that is new begins.
    fn connected(&mut self) {
        let text = self.cursor.as_deref().expect("the first block has an id");
        let cursor = Cursor::parse(text).expect("a cursor");
        for channel in &self.follows {
            let start = position(&cursor, channel);
            if let Some(tip) = self.tips.get(channel).filter(|_| !self.channels.contains_key(channel)) {
                assert_eq!(start, *tip, "{channel} begins elsewhere");
            }
            self.channels.entry(channel.clone()).or_insert_with(|| Received::new(start));
        }
    }

    /// Takes an event. Returns its channel if it is a stored one.
    fn event(&mut self, data: &str) -> Option<Channel> {
        let data: serde_json::Value = serde_json::from_str(data).expect("an envelope");
        let channel = Channel::new(data["channel"].as_str().expect("a name")).expect("a channel");
        if let Some(number) = data["data"].as_str().and_then(|text| text.strip_prefix("ephemeral ")) {
            assert!(data.get("id").is_none(), "an ephemeral event has no position");
            assert!(self.is_connected(), "an ephemeral event before the first block");
            let number = number.parse().expect("a number");
            let last = self.ephemeral.insert(channel, number);
            assert!(last.is_none_or(|last| last < number), "ephemeral: {number} after {last:?}");
            return None;
        }
        assert!(data["id"].is_string(), "a stored event has a position");
        let text = data["data"].as_str().expect("text");
        if text.starts_with("forged") {
            let received = self.channels.get_mut(&channel).expect("a channel that is followed");
            received.forged.push(received.numbers.len());
            return Some(channel);
        }
        let number = number(text);
        assert_eq!(text, payload(number, text.len()), "the event's own data");
        let received = self.channels.get_mut(&channel).expect("a channel that is followed");
        received.numbers.push(number);
        self.deliveries.push((channel.clone(), number));
        Some(channel)
    }

    /// Returns whether it follows everything that it asked for.
    pub(crate) fn is_connected(&self) -> bool {
        !self.follows.is_empty() && self.follows.iter().all(|channel| self.channels.contains_key(channel))
    }
}

/// Returns the cursor's position in a channel that it names.
fn position(cursor: &Cursor, channel: &Channel) -> Position {
    match cursor {
        Cursor::One(position) => *position,
        several @ Cursor::Many(_) => several.position_in(channel).expect("every channel is named"),
    }
}

/// Returns the data of the event with this number: `size` bytes, or a few if that is less. No compression makes
/// little of it.
pub(crate) fn payload(number: u64, size: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut text = format!("{number} ");
    while text.len() < size {
        text.push(rng.alphanumeric());
    }
    text
}

/// Returns the number of the event with this data.
pub(crate) fn number(data: &str) -> u64 {
    data.split_once(' ').expect("a number and more").0.parse().expect("a number")
}
