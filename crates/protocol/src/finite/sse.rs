//! The text of a live reader: events `data` and `control` (WHATWG HTML, section 9.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::end::End;
use super::media_type::Form;
use super::messages;
use super::offset::Offset;

/// What a reader learns after the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// Where to go on.
    pub next: Offset,
    /// The cursor of the next request, while the stream is open.
    pub cursor: Option<u64>,
    /// Whether these are all bytes there are.
    pub up_to_date: bool,
    /// The end, if the reader has everything.
    pub end: Option<&'a End>,
    /// Whether this is the first event of a response, which says how soon an `EventSource` comes back after its end.
    pub is_first: bool,
}

/// Time after which an `EventSource` comes back, in milliseconds.
const RETRY: u32 = 500;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    stream_next_offset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_cursor: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    up_to_date: bool,
    #[serde(skip_serializing_if = "is_false")]
    stream_closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_end: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_end_reason: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Appends the event of a page's bytes: text line by line, messages as an array, other bytes as base64.
///
/// There is no space behind `data:`, since a client removes one, and the text may begin with one.
pub fn write_data(out: &mut Vec<u8>, form: Form, page: &[u8]) {
    out.extend_from_slice(b"event: data\n");
    match form {
        Form::Json => write_line(out, &messages::array(page)),
        Form::Bytes => write_line(out, STANDARD.encode(page).as_bytes()),
        Form::Text => write_text(out, &String::from_utf8_lossy(page)),
    }
    out.push(b'\n');
}

fn write_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"data:");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Appends each line of a text; lines end with CR LF, CR or LF.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        write_line(out, &rest.as_bytes()[..at]);
        let behind = &rest[at..];
        rest = behind.strip_prefix("\r\n").unwrap_or(&behind[1..]);
    }
    write_line(out, rest.as_bytes());
}

/// Appends a control event. Its offset is its `id:` as well, so an `EventSource` that reconnects sends it as `Last-Event-ID`. The
/// line is behind the data: readers may expect the data directly after the event's name.
pub fn write_control(out: &mut Vec<u8>, control: &Control<'_>) {
    let end = control.end;
    let text = Text {
        stream_next_offset: control.next.to_string(),
        stream_cursor: control.cursor.filter(|_| end.is_none()).map(|cursor| cursor.to_string()),
        up_to_date: control.up_to_date,
        stream_closed: end.is_some(),
        stream_end: end.map(|end| end.kind.as_str()),
        stream_end_reason: end.map(|end| end.reason.as_str()).filter(|reason| !reason.is_empty()),
    };
    out.extend_from_slice(b"event: control\n");
    // A struct of texts, numbers and flags is always JSON.
    write_line(out, &serde_json::to_vec(&text).unwrap_or_default());
    out.extend_from_slice(format!("id: {}\n", control.next).as_bytes());
    if control.is_first {
        out.extend_from_slice(format!("retry: {RETRY}\n").as_bytes());
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::EndKind;

    fn data(form: Form, page: &[u8]) -> String {
        let mut out = Vec::new();
        write_data(&mut out, form, page);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_written_line_by_line() {
        for (text, lines) in [
            ("a", "data:a\n"),
            (" a", "data: a\n"),
            ("a\n", "data:a\ndata:\n"),
            ("a\r\nb\rc\nd", "data:a\ndata:b\ndata:c\ndata:d\n"),
            ("\n\r", "data:\ndata:\ndata:\n"),
            ("event: x\nid: 1", "data:event: x\ndata:id: 1\n"),
        ] {
            assert_eq!(data(Form::Text, text.as_bytes()), format!("event: data\n{lines}\n"), "{text:?}");
        }
        assert_eq!(data(Form::Json, b"1\n{\"a\":2}\n"), "event: data\ndata:[1,{\"a\":2}]\n\n");
        assert_eq!(data(Form::Bytes, b"\x00\xff"), "event: data\ndata:AP8=\n\n");
    }

    #[test]
    fn a_control_event_says_where_to_go_on_and_whether_that_is_all() {
        let next = Offset { generation: 7, byte: 9 };
        let text = |control: Control<'_>| {
            let mut out = Vec::new();
            write_control(&mut out, &control);
            String::from_utf8(out).unwrap()
        };
        let control = Control { next, cursor: Some(3), up_to_date: false, end: None, is_first: true };
        let offset = "0000000000000007_0000000000000009";
        assert_eq!(
            text(control.clone()),
            format!(
                "event: control\ndata:{{\"streamNextOffset\":\"{offset}\",\"streamCursor\":\"3\"}}\n\
                 id: {offset}\nretry: 500\n\n"
            )
        );
        let lost = End { kind: EndKind::Error, reason: "lost".into() };
        assert_eq!(
            text(Control { up_to_date: true, end: Some(&lost), is_first: false, ..control }),
            format!(
                "event: control\ndata:{{\"streamNextOffset\":\"{offset}\",\"upToDate\":true,\"streamClosed\":true,\
                 \"streamEnd\":\"error\",\"streamEndReason\":\"lost\"}}\nid: {offset}\n\n"
            )
        );
    }
}
