//! An event stream, read by the standard: <https://html.spec.whatwg.org/multipage/server-sent-events.html>, 9.2.6.

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
}

impl Reader {
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

    /// Takes some bytes and hands on the blocks that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(&Block)) {
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

    fn take_line(&mut self, mut line: &[u8], on: &mut impl FnMut(&Block)) {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.end_block(on);
            return;
        }
        let line = String::from_utf8_lossy(line);
        match line.split_once(':') {
            Some(("", _)) => {}
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

    fn end_block(&mut self, on: &mut impl FnMut(&Block)) {
        if let Some(id) = self.id.take() {
            self.last_id = id;
            self.block.has_id = true;
        }
        if std::mem::take(&mut self.any) {
            on(&std::mem::take(&mut self.block));
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
        reader.feed(text.as_bytes(), |block| blocks.push(block.clone()));
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
            cut_up.feed(head, |block| blocks.push(block.clone()));
            cut_up.feed(tail, |block| blocks.push(block.clone()));
            prop_assert_eq!(blocks, wanted);
            prop_assert_eq!(cut_up.last_id(), whole.last_id());
        }
    }
}
