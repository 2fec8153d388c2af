//! A client: reads as fast or as slow as it likes, remembers its cursor as a browser does, comes back anywhere.

use std::collections::BTreeMap;

use fanfare_protocol::{Channel, Cursor, Position, Start};

use crate::ledger::Received;

/// What a client knows.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Its last event id.
    cursor: Option<String>,
    /// What of the stream is not a whole block yet.
    partial: Vec<u8>,
    /// What it received in each channel since it followed it without a break.
    pub(crate) channels: BTreeMap<Channel, Received>,
    /// Channels that it followed before and does not any more, with what it received in them.
    pub(crate) left: Vec<(Channel, Received)>,
    /// What it asked for when it connected last.
    follows: Vec<Channel>,
    pub(crate) trace: Vec<String>,
}

impl Client {
    /// Opens a new connection: forgets half a block, and the channels that it no longer follows. Answers where the
    /// stream is to begin.
    pub(crate) fn reconnect(&mut self, follows: Vec<Channel>) -> Start {
        self.partial.clear();
        let gone: Vec<Channel> = self.channels.keys().filter(|c| !follows.contains(c)).cloned().collect();
        for channel in gone {
            if let Some(received) = self.channels.remove(&channel) {
                self.left.push((channel, received));
            }
        }
        self.follows = follows;
        self.trace.push(format!("reconnect {:?} with {:?}", self.follows, self.cursor));
        match &self.cursor {
            Some(cursor) => Start::parse(cursor).expect("a cursor that a node sent is one"),
            None => Start::Latest,
        }
    }

    /// Takes bytes off the wire.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.partial.drain(..end + 2).collect();
            self.take_block(std::str::from_utf8(&block).expect("UTF-8"));
        }
    }

    fn take_block(&mut self, block: &str) {
        self.trace.push(block.trim_end().replace('\n', " | "));
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.cursor = Some(id.to_owned());
        }
        match (field("event: "), field("data: ")) {
            (Some("connected"), _) => self.connected(),
            (Some("gap"), Some(data)) => {
                let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
                let channel = Channel::new(data["channel"].as_str().expect("a name")).expect("a channel");
                let received = self.channels.get_mut(&channel).expect("a channel that is followed");
                received.gaps.push(received.positions.len());
            }
            (None, Some(data)) => self.event(data),
            _ => {}
        }
    }

    /// The cursor of the first block says where each channel that is new begins.
    fn connected(&mut self) {
        let text = self.cursor.as_deref().expect("the first block has an id");
        let cursor = Cursor::parse(text).expect("a cursor");
        for channel in &self.follows {
            let start = match &cursor {
                Cursor::One(position) => *position,
                several @ Cursor::Many(_) => several.position_in(channel).expect("every channel is named"),
            };
            let fresh = Received { start, positions: Vec::new(), gaps: Vec::new() };
            self.channels.entry(channel.clone()).or_insert(fresh);
        }
    }

    fn event(&mut self, data: &str) {
        let data: serde_json::Value = serde_json::from_str(data).expect("an envelope");
        let channel = Channel::new(data["channel"].as_str().expect("a name")).expect("a channel");
        let position: Position = data["id"].as_str().expect("a kept event").parse().expect("a position");
        assert_eq!(data["data"], format!("{channel} payload"), "the event's own data");
        self.channels.get_mut(&channel).expect("a channel that is followed").positions.push(position);
    }

    /// Whether it follows everything that it asked for.
    pub(crate) fn is_connected(&self) -> bool {
        !self.follows.is_empty() && self.follows.iter().all(|channel| self.channels.contains_key(channel))
    }
}
