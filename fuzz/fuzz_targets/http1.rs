//! Bytes on a socket of HTTP/1.1, heads and bodies: the node answers in HTTP or closes, fails on none, and serves the next
//! connection.

#![no_main]

use fanfare_fuzz::Client;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What the node takes for HTTP/2 is the input of another target.
    if bytes.starts_with(b"PRI ") {
        return;
    }
    let answer = Client::send(bytes).finish();
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{text}");
    assert!(!text.contains("\"type\":\"/v1/problems#internal\""), "{text}");
});
