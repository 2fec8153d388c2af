//! The data of the events that are measured.

use std::fmt::Write;

use fanfare_testkit::numbered::Numbered;

/// First byte of the number and the time. It occurs once in each event and nowhere else in a stream, so
/// that counting it counts events, wherever a read cuts them.
pub const MARK: u8 = b'~';

/// What the rest of an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// Dots.
    #[default]
    Filler,
    /// An order as a shop would send it: for what depends on how well the data can be compressed.
    Json,
}

/// Data of about this size in bytes; of exactly this size with [`Content::Filler`].
pub fn data(event: &Numbered, size: usize, content: Content) -> String {
    match content {
        Content::Filler => format!("{}{}", char::from(MARK), event.data(size.saturating_sub(1))),
        Content::Json => order(event, size),
    }
}

/// Parses an event's data; `None` if it has another form.
pub fn parse(data: &str) -> Option<Numbered> {
    Numbered::parse(data.split_once(char::from(MARK))?.1)
}

const FIRST: [&str; 12] =
    ["Ada", "Björn", "Chiara", "Deniz", "Emre", "Fatou", "Gita", "Hugo", "Ines", "Jonas", "Kofi", "Lena"];
const LAST: [&str; 10] =
    ["Almeida", "Berg", "Costa", "Dvořák", "Eriksson", "Fischer", "García", "Hansen", "Ivanova", "Jansen"];
const GOODS: [&str; 12] = [
    "Espresso beans, dark, 1 kg",
    "Paper filters no. 4",
    "Hand grinder, steel",
    "Kettle with gooseneck",
    "Cup, 180 ml, blue",
    "Oat drink barista",
    "Descaler, 2 doses",
    "Milk jug 0.35 l",
    "Gift card",
    "Tamper 58 mm",
    "Scale with timer",
    "Cleaning brush",
];
const STATES: [&str; 5] = ["reserved", "paid", "packed", "shipped", "returned"];

/// The same order for the same number. It has as many lines as come nearest to the size.
fn order(event: &Numbered, size: usize) -> String {
    let mut random = fastrand::Rng::with_seed((event.channel as u64) << 40 ^ event.number);
    let mut text = String::with_capacity(size + 128);
    let mark = event.data(0);
    // Writing into memory does not fail.
    let _ = write!(
        text,
        r#"{{"mark":"{}{mark} ","order":"{:016x}","state":"{}","customer":{{"id":{},"name":"{} {}","vip":{}}},"lines":["#,
        char::from(MARK),
        random.u64(..),
        random.choice(STATES).unwrap_or_default(),
        random.u32(10_000..9_999_999),
        random.choice(FIRST).unwrap_or_default(),
        random.choice(LAST).unwrap_or_default(),
        random.bool(),
    );
    let mut comma = "";
    while text.len() + 50 < size {
        let _ = write!(
            text,
            r#"{comma}{{"sku":"{:06x}","name":"{}","quantity":{},"price":{}.{:02}}}"#,
            random.u32(0..0xff_ffff),
            random.choice(GOODS).unwrap_or_default(),
            random.u32(1..9),
            random.u32(1..200),
            random.u32(0..100),
        );
        comma = ",";
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_is_marked_once_and_reads_back() {
        let event = Numbered { channel: 3, number: 42, sent: Duration::from_micros(123_456) };
        for content in [Content::Filler, Content::Json] {
            for size in [100, 1000] {
                let data = data(&event, size, content);
                assert_eq!(data.bytes().filter(|byte| *byte == MARK).count(), 1, "{data}");
                assert_eq!(parse(&data), Some(event), "{data}");
                let json: Result<serde_json::Value, _> = serde_json::from_str(&data);
                assert_eq!(json.is_ok(), content == Content::Json, "{data}");
                match content {
                    Content::Filler => assert_eq!(data.len(), size),
                    Content::Json => assert!(data.len() + 110 > size, "{} bytes", data.len()),
                }
            }
        }
        assert_eq!(parse("no mark"), None);
    }
}
