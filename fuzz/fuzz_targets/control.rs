//! What arrives on a node's control topic, and the session ids in it: nothing breaks the reader, and a command is
//! written and read again as the same.

#![no_main]

use fanfare_protocol::SessionId;
use fanfare_protocol::session::{Control, MAX_CONTROL_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Ok(command) = Control::parse(message) {
        let written = command.encode();
        // Members that the message leaves out are written, so that it may grow beyond what is read.
        if written.len() <= MAX_CONTROL_BYTES {
            assert_eq!(Control::parse(written.as_bytes()).expect("what was written can be read"), command);
        }
    }
    if let Ok(session) = String::from_utf8_lossy(message).parse::<SessionId>() {
        assert_eq!(session.to_string().parse(), Ok(session));
    }
});
