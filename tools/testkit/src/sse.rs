//! Reads an event stream by the standard: <https://html.spec.whatwg.org/multipage/server-sent-events.html>, 9.2.5 and
//! 9.2.6. It shares no code with the writer that it judges.

/// What a blank line ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The `event:` field; empty for a plain message.
    pub kind: String,
    /// The `data:` lines with LF between them. A block without one is no event.
    pub data: Option<String>,
    /// Whether it had an `id:`.
    pub has_id: bool,
}

/// Takes a stream's bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that is not complete.
    line: Vec<u8>,
    /// The last byte was a CR: an LF right after it belongs to it.
    after_cr: bool,
    /// The beginning, where a byte order mark may stand, is behind us.
    started: bool,
    block: Block,
    /// Whether the block has any field.
    any: bool,
    /// The `id:` of this block, which counts when it ends.
    id: Option<String>,
    /// What a client sends as `Last-Event-ID`.
    last_id: String,
    /// The last `retry:`, in milliseconds.
    retry: Option<u64>,
    comments: u64,
    bare: u64,
    /// How many lines the block has so far, with comments.
    lines: usize,
}

impl Reader {
    /// Creates the reader of a new response to a client that has this last event id.
    pub fn resuming(last_id: &str) -> Self {
        Self { last_id: last_id.to_owned(), ..Self::default() }
    }

    /// Begins a new response. The last event id stays, what was not complete is gone.
    pub fn restart(&mut self) {
        let (last_id, retry) = (std::mem::take(&mut self.last_id), self.retry);
        *self = Self { last_id, retry, ..Self::default() };
    }

    /// Returns what a client sends as `Last-Event-ID`.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Returns the last `retry:`, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Returns how many comments were read; heartbeats are comments.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Returns how many blocks without data were read. By the standard they are no events; some clients take them for empty
    /// ones, and others drop their `id:`.
    pub fn bare(&self) -> u64 {
        self.bare
    }

    /// Takes bytes, and calls `on` for each block with fields that they complete, with the last event id after the block.
    /// A block that the end of the stream cuts short is never passed on.
    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(&Block, &str)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(bytes);
                return;
            };
            self.after_cr = bytes[end] == b'\r';
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                self.take_line(line, &mut on);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, &mut on);
            }
            bytes = rest;
        }
    }

    fn take_line(&mut self, mut line: &[u8], on: &mut impl FnMut(&Block, &str)) {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.end_block(on);
            return;
        }
        self.lines += 1;
        let line = String::from_utf8_lossy(line);
        match line.split_once(':') {
            Some(("", _)) => self.comments += 1,
            Some((field, value)) => self.take_field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.take_field(&line, ""),
        }
    }

    fn take_field(&mut self, field: &str, value: &str) {
        self.any = true;
        match field {
            "event" => value.clone_into(&mut self.block.kind),
            "data" => match &mut self.block.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            _ => {}
        }
    }

    fn end_block(&mut self, on: &mut impl FnMut(&Block, &str)) {
        if let Some(id) = self.id.take() {
            self.last_id = id;
            self.block.has_id = true;
        }
        if std::mem::take(&mut self.lines) > 0 && self.block.data.is_none() {
            self.bare += 1;
        }
        if std::mem::take(&mut self.any) {
            on(&std::mem::take(&mut self.block), &self.last_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(kind: &str, data: Option<&str>, has_id: bool) -> Block {
        Block { kind: kind.into(), data: data.map(Into::into), has_id }
    }

    fn read(reader: &mut Reader, text: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        reader.feed(text.as_bytes(), |block, _| blocks.push(block.clone()));
        blocks
    }

    #[test]
    fn blocks_ids_and_retries_are_read_as_the_standard_says() {
        let mut reader = Reader::default();
        let text = "\u{feff}id: 1-1\nretry: 30\n\n:\nevent: a\ndata: x\ndata:y\r\rdata\n\nid: 2\ndata: cut";
        let wanted = [block("", None, true), block("a", Some("x\ny"), false), block("", Some(""), false)];
        assert_eq!(read(&mut reader, text), wanted);
        assert_eq!((reader.last_id(), reader.retry()), ("1-1", Some(30)));
        reader.restart();
        assert_eq!(read(&mut reader, "\n\nid\nretry: 1x\n\n"), [block("", None, true)]);
        assert_eq!((reader.last_id(), reader.retry()), ("", Some(30)));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_stream_is_cut(
            text in "(data: x|event: y|id: 7|:|\r|\n|\r\n|é){0,30}",
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut whole, mut cut_up) = (Reader::default(), Reader::default());
            let wanted = read(&mut whole, &text);
            let (head, tail) = text.as_bytes().split_at(cut.index(text.len() + 1));
            let mut blocks = Vec::new();
            cut_up.feed(head, |block, _| blocks.push(block.clone()));
            cut_up.feed(tail, |block, _| blocks.push(block.clone()));
            prop_assert_eq!(blocks, wanted);
            prop_assert_eq!(cut_up.last_id(), whole.last_id());
        }
    }

    /// The events that the standard dispatches: type, data, last event id.
    type Dispatched = (String, String, String);

    fn dispatch(reader: &mut Reader, bytes: &[u8]) -> Vec<Dispatched> {
        let mut events = Vec::new();
        reader.feed(bytes, |block, last_id| {
            let kind = if block.kind.is_empty() { "message" } else { &block.kind };
            events.extend(block.data.as_deref().map(|data| event(kind, data, last_id)));
        });
        events
    }

    fn events(text: &str) -> Vec<Dispatched> {
        dispatch(&mut Reader::default(), text.as_bytes())
    }

    fn event(kind: &str, data: &str, id: &str) -> Dispatched {
        (kind.to_owned(), data.to_owned(), id.to_owned())
    }

    #[test]
    fn the_examples_of_the_standard_are_read_as_it_says() {
        assert_eq!(events("data: YHOO\ndata: +2\ndata: 10\n\n"), [event("message", "YHOO\n+2\n10", "")]);
        assert_eq!(
            events(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            [
                event("message", "first event", "1"),
                event("message", "second event", ""),
                event("message", " third event", "")
            ]
        );
        assert_eq!(
            events("data\n\ndata\ndata\n\ndata:"),
            [event("message", "", ""), event("message", "\n", "")]
        );
        assert_eq!(
            events("data:test\n\ndata: test\n\n"),
            [event("message", "test", ""), event("message", "test", "")]
        );
    }

    #[test]
    fn an_id_counts_only_from_the_blank_line_on_and_also_without_data() {
        let mut reader = Reader::resuming("7");
        assert!(dispatch(&mut reader, b"id: 8\n").is_empty());
        assert_eq!(reader.last_id(), "7");
        assert!(dispatch(&mut reader, b"retry: 300\n\n").is_empty());
        assert_eq!((reader.last_id(), reader.retry()), ("8", Some(300)));
        let found = dispatch(&mut reader, b"data: x\n\nid: 9\ndata: y\n\n");
        assert_eq!(found, [event("message", "x", "8"), event("message", "y", "9")]);
    }

    #[test]
    fn what_does_not_count_is_ignored() {
        let mut reader = Reader::default();
        dispatch(
            &mut reader,
            "\u{feff}id: 1\0\nretry: 1x\nretry:\ncolour: red\nevent: lonely\n\n:a\n: b\n".as_bytes(),
        );
        assert_eq!((reader.last_id(), reader.retry(), reader.comments()), ("", None, 2));
        assert_eq!(events("\u{feff}data: x\n\n"), [event("message", "x", "")]);
        assert_eq!(events("event: a\n\ndata: x\n\n"), [event("message", "x", "")]);
    }

    #[test]
    fn blocks_without_data_are_counted() {
        for (text, bare) in [
            ("id: 5\nretry: 30\n\n", 1),
            (": hb\n\n", 1),
            ("\n\n", 0),
            (":\nid: 5\nretry: 30\ndata: x\n\n:\n:\ndata\n\n", 0),
        ] {
            let mut reader = Reader::default();
            dispatch(&mut reader, text.as_bytes());
            assert_eq!(reader.bare(), bare, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn neither_line_endings_nor_cuts_matter(
            lines in prop::collection::vec("(data|id|event|retry|x)(:[ a-z0-9:]{0,6})?|", 0..20),
            ending in prop::sample::select(vec!["\r", "\n", "\r\n"]), cut in 1usize..7
        ) {
            let plain = events(&format!("{}\n\n", lines.join("\n")));
            let text = format!("{}{ending}{ending}", lines.join(ending));
            let mut reader = Reader::default();
            let found: Vec<_> = text.as_bytes().chunks(cut).flat_map(|piece| dispatch(&mut reader, piece)).collect();
            prop_assert_eq!(found, plain);
        }
    }
}
