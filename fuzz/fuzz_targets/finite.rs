//! Texts about finite streams that come from clients and from Redis: none breaks a parser, what was read is written and read again as the
//! same, and no page cuts a character or a message. The first byte of the input chooses the parser.

#![no_main]

use bytes::Bytes;
use fanfare_protocol::finite::wire::Change;
use fanfare_protocol::finite::{
    Form, Generations, Life, MediaType, Offset, Producer, ReadFrom, StreamName, cut, messages, sse,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice % 4 {
        0 => texts(rest),
        1 => changes(rest),
        2 => bodies(rest),
        _ => pages(rest),
    }
});

fn texts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(name) = StreamName::new(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(offset) = text.parse::<Offset>() {
        assert_eq!(offset.to_string(), text);
    }
    let _ = text.parse::<ReadFrom>();
    if let Ok(list) = text.parse::<Generations>() {
        assert_eq!(list.to_string().parse::<Generations>().expect("what was written can be read"), list);
    }
    for life in [Life::read(Some(text), None), Life::read(None, Some(text))].into_iter().flatten() {
        assert_eq!(Life::stored(&life.to_string()), life);
    }
    let _ = MediaType::new(text);
    let _ = Producer::read(Some("p"), Some(text), Some(text));
}

fn changes(input: &[u8]) {
    if let Ok(change) = Change::parse(&Bytes::copy_from_slice(input)) {
        let written = Bytes::from(change.encode());
        assert_eq!(Change::parse(&written).expect("what was written can be read"), change);
    }
}

fn bodies(input: &[u8]) {
    let Ok(lines) = messages::lines(input) else { return };
    assert!(lines.len() <= input.len() + 1, "no body grows");
    let array = messages::array(&lines);
    assert_eq!(messages::lines(&array).expect("what is read is JSON"), lines);
    assert!(lines.is_empty() || cut::whole(Form::Json, &lines, false) == Some(lines.len()));
}

fn pages(input: &[u8]) {
    let whole = cut::whole(Form::Text, input, false).expect("a text is never read again");
    assert!(input.len() - whole <= 3);
    for form in [Form::Text, Form::Bytes] {
        let mut text = Vec::new();
        sse::write_data(&mut text, form, input);
        let text = String::from_utf8(text).expect("server-sent events are UTF-8");
        let lines =
            text.strip_prefix("event: data\n").and_then(|rest| rest.strip_suffix("\n\n")).expect("one event");
        assert!(lines.split('\n').all(|line| line.starts_with("data:")), "{text:?}");
        assert!(!text.contains('\r'), "{text:?}");
    }
}
