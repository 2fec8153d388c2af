//! Fields of a request that publishes: of each line, a field `Idempotency-Key` with this value, or after a `+` any field. `[` makes
//! it a batch. The node takes a key exactly if a second reading of RFC 8941 does, and then it is the same key.

#![no_main]

use fanfare_fuzz::Client;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Longest key, in bytes.
const MAX_KEY: usize = 128;
/// More fields than this are an input of the target `http1`.
const MAX_LINES: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let in_a_field = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if lines.len() > MAX_LINES || !lines.iter().all(|line| line.iter().all(in_a_field)) {
        return;
    }
    let (mut keys, mut others, mut is_batch) = (Vec::new(), Vec::new(), false);
    for line in lines {
        match line {
            b"[" => is_batch = true,
            [b'+', field @ ..] => others.push(field),
            key => keys.push(key),
        }
    }
    let wanted = match keys[..] {
        [] => Some(None),
        [one] => key(one).map(Some),
        _ => None,
    };

    let mut event = json!({"channel": "a", "type": "t", "data": "x"});
    let body = if is_batch {
        json!([event, event]).to_string()
    } else {
        // The node refuses a key that differs from the header's.
        if let Some(Some(key)) = &wanted {
            event["key"] = key.clone().into();
        }
        event.to_string()
    };
    let mut request = b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".to_vec();
    for key in &keys {
        request.extend([b"Idempotency-Key: ", *key, b"\r\n"].concat());
    }
    for other in &others {
        request.extend([*other, b"\r\n"].concat());
    }
    request.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
    let answer = Client::send(&request).finish();
    let text = String::from_utf8_lossy(&answer);
    // The node is impatient with the fuzzer: on a busy machine it may close before it has read a request.
    if answer.is_empty() || text.starts_with("HTTP/1.1 408 ") {
        return;
    }
    assert!(text.starts_with("HTTP/1."), "{text}");
    assert!(!text.contains("\"type\":\"/v1/problems#internal\""), "{text}");
    if others.is_empty() {
        let is_taken = text.starts_with("HTTP/1.1 200 ");
        assert_eq!(is_taken, wanted.is_some(), "{text}");
        assert!(is_taken || text.contains("Idempotency-Key: "), "{text}");
    }
});

/// Reads the value of a field `Idempotency-Key`.
fn key(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let key = match value.split_first() {
        Some((b'"', text)) => quoted(text)?,
        _ if value.iter().any(|byte| b"\"\\, \t".contains(byte)) => return None,
        _ => value.to_vec(),
    };
    let is_key = (1..=MAX_KEY).contains(&key.len()) && key.is_ascii() && value.is_ascii();
    is_key.then(|| String::from_utf8(key).ok())?
}

/// Reads a string of RFC 8941, section 3.3.3, after its first quote.
fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    let mut is_escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match (is_escaped, byte) {
            (true, b'"' | b'\\') => {
                key.push(*byte);
                is_escaped = false;
            }
            (true, _) | (false, b'\t') => return None,
            (false, b'\\') => is_escaped = true,
            (false, b'"') => {
                let parameters = text[at + 1..].trim_ascii_start();
                return (parameters.is_empty() || parameters.starts_with(b";")).then_some(key);
            }
            (false, _) => key.push(*byte),
        }
    }
    None
}
