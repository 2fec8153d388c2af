//! An event stream, read by the standard: <https://html.spec.whatwg.org/multipage/server-sent-events.html>, 9.2.5
//! and 9.2.6. It shares no code with the writer that it checks.

/// One event as the standard dispatches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// `message` when the block had no `event:`.
    pub kind: String,
    /// The `data:` lines with LF between them.
    pub data: String,
    /// The last event id at that moment: what a client would send back.
    pub last_id: String,
    /// Whether the block itself had an `id:`.
    pub has_id: bool,
}

/// Takes a stream's bytes in pieces of any size.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR: an LF right after it belongs to it.
    after_cr: bool,
    /// The beginning, where a byte order mark may stand, is behind us.
    started: bool,
    kind: String,
    /// The data buffer of the standard: each line with an LF behind it.
    data: String,
    id: String,
    has_id: bool,
    last_id: String,
    retry: Option<u64>,
    comments: u64,
    bare: u64,
    /// How many lines the block has so far, comments counted in.
    lines: usize,
}

impl Parser {
    /// For a new response to a client that has this last event id.
    pub fn resuming(last_id: &str) -> Self {
        Self { id: last_id.to_owned(), last_id: last_id.to_owned(), ..Self::default() }
    }

    /// Takes some bytes and gives back the events that they complete. A block that the stream's end cuts short is
    /// never dispatched.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Dispatched> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..end]);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&line));
        }
        events
    }

    /// What the client would send as `Last-Event-ID`.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The last `retry:`, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// How many comments came; heartbeats are such.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// How many blocks came without data. By the standard they are no events; some clients take them for empty ones, and
    /// others drop their `id:`.
    pub fn bare(&self) -> u64 {
        self.bare
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Dispatched> {
        let mut line = line;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        self.lines += 1;
        let line = String::from_utf8_lossy(line);
        match line.split_once(':') {
            Some(("", _)) => self.comments += 1,
            Some((field, value)) => self.take_field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.take_field(&line, ""),
        }
        None
    }

    fn take_field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => {
                value.clone_into(&mut self.id);
                self.has_id = true;
            }
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Dispatched> {
        self.id.clone_into(&mut self.last_id);
        let kind = std::mem::take(&mut self.kind);
        let has_id = std::mem::take(&mut self.has_id);
        let mut data = std::mem::take(&mut self.data);
        let lines = std::mem::take(&mut self.lines);
        if data.is_empty() {
            self.bare += u64::from(lines > 0);
            return None;
        }
        data.pop();
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Dispatched { kind, data, last_id: self.last_id.clone(), has_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String, String)> {
        let events = Parser::default().feed(text.as_bytes());
        events.into_iter().map(|event| (event.kind, event.data, event.last_id)).collect()
    }

    fn event(kind: &str, data: &str, id: &str) -> (String, String, String) {
        (kind.to_owned(), data.to_owned(), id.to_owned())
    }

    #[test]
    fn the_examples_of_the_standard_are_read_as_it_says() {
        assert_eq!(read("data: YHOO\ndata: +2\ndata: 10\n\n"), [event("message", "YHOO\n+2\n10", "")]);
        assert_eq!(
            read(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            [
                event("message", "first event", "1"),
                event("message", "second event", ""),
                event("message", " third event", "")
            ]
        );
        assert_eq!(
            read("data\n\ndata\ndata\n\ndata:"),
            [event("message", "", ""), event("message", "\n", "")]
        );
        assert_eq!(
            read("data:test\n\ndata: test\n\n"),
            [event("message", "test", ""), event("message", "test", "")]
        );
    }

    #[test]
    fn an_id_counts_only_from_the_blank_line_on_and_also_without_data() {
        let mut parser = Parser::resuming("7");
        assert!(parser.feed(b"id: 8\n").is_empty());
        assert_eq!(parser.last_id(), "7");
        assert!(parser.feed(b"retry: 300\n\n").is_empty());
        assert_eq!((parser.last_id(), parser.retry()), ("8", Some(300)));
        let events = parser.feed(b"data: x\n\nid: 9\ndata: y\n\n");
        assert_eq!(
            events.iter().map(|e| (e.last_id.as_str(), e.has_id)).collect::<Vec<_>>(),
            [("8", false), ("9", true)]
        );
    }

    #[test]
    fn what_does_not_count_is_ignored() {
        let mut parser = Parser::default();
        parser.feed("\u{feff}id: 1\0\nretry: 1x\nretry:\ncolour: red\nevent: lonely\n\n:a\n: b\n".as_bytes());
        assert_eq!((parser.last_id(), parser.retry(), parser.comments()), ("", None, 2));
        assert_eq!(read("\u{feff}data: x\n\n"), [event("message", "x", "")]);
        assert_eq!(read("event: a\n\ndata: x\n\n"), [event("message", "x", "")]);
    }

    #[test]
    fn blocks_without_data_are_counted() {
        for (text, bare) in [
            ("id: 5\nretry: 30\n\n", 1),
            (": hb\n\n", 1),
            ("\n\n", 0),
            (":\nid: 5\nretry: 30\ndata: x\n\n:\n:\ndata\n\n", 0),
        ] {
            let mut parser = Parser::default();
            parser.feed(text.as_bytes());
            assert_eq!(parser.bare(), bare, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn neither_line_endings_nor_cuts_matter(
            lines in prop::collection::vec("(data|id|event|retry|x)(:[ a-z0-9:]{0,6})?|", 0..20),
            ending in prop::sample::select(vec!["\r", "\n", "\r\n"]), cut in 1usize..7
        ) {
            let plain = Parser::default().feed(format!("{}\n\n", lines.join("\n")).as_bytes());
            let text = format!("{}{ending}{ending}", lines.join(ending));
            let mut parser = Parser::default();
            let events: Vec<_> = text.as_bytes().chunks(cut).flat_map(|piece| parser.feed(piece)).collect();
            prop_assert_eq!(events, plain);
        }
    }
}
