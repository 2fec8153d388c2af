//! Where a page may end.

use super::media_type::Form;

/// Maximum length of an incomplete character at the end of a text, in bytes.
const MAX_INCOMPLETE: usize = 3;

/// Returns how many of a page's bytes may be sent, so that no message and no character is cut. `None` if the page is smaller
/// than its first message, and must be read again with more.
pub fn whole(form: Form, page: &[u8], is_last: bool) -> Option<usize> {
    match form {
        Form::Bytes => Some(page.len()),
        Form::Json => match memchr::memrchr(b'\n', page) {
            Some(at) => Some(at + 1),
            None if page.is_empty() || is_last => Some(0),
            None => None,
        },
        // At the end of a stream that is closed, no further byte completes the character.
        Form::Text if is_last => Some(page.len()),
        Form::Text => Some(complete_characters(page)),
    }
}

/// Returns how many bytes there are without an incomplete character at the end.
fn complete_characters(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(MAX_INCOMPLETE);
    if std::str::from_utf8(&text[from..]).is_ok() {
        return text.len();
    }
    // The first bytes may be the end of a character that began before.
    let begin = text[from..].iter().rposition(|byte| !matches!(byte, 0x80..=0xbf)).map(|at| from + at);
    match begin {
        Some(begin) if length(text[begin]) > text.len() - begin => begin,
        _ => text.len(),
    }
}

/// Returns the length of the character that begins with a byte (RFC 3629); 1 for a byte that begins none.
fn length(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_not_cut() {
        for (page, is_last, wanted) in [
            (&b"1\n2\n"[..], false, Some(4)),
            (b"1\n2", false, Some(2)),
            (b"12", false, None),
            (b"", false, Some(0)),
        ] {
            assert_eq!(whole(Form::Json, page, is_last), wanted, "{page:?}");
        }
    }

    #[test]
    fn an_incomplete_character_waits_for_its_rest_unless_there_is_none() {
        assert_eq!(whole(Form::Text, b"a\xc3", false), Some(1));
        assert_eq!(whole(Form::Text, b"a\xc3", true), Some(2));
        assert_eq!(whole(Form::Text, b"\xf0\x9f\x98", false), Some(0));
        // Bytes that are no character do not wait.
        assert_eq!(whole(Form::Text, b"a\x80\x80\x80\x80", false), Some(5));
        assert_eq!(whole(Form::Text, b"a\xff", false), Some(2));
        assert_eq!(whole(Form::Bytes, b"a\xc3", false), Some(2));
    }

    proptest! {
        #[test]
        fn a_cut_text_is_text(text: String, at in 0_usize..200) {
            let page = &text.as_bytes()[..at.min(text.len())];
            let whole = whole(Form::Text, page, false).unwrap();
            prop_assert!(std::str::from_utf8(&page[..whole]).is_ok());
            prop_assert!(page.len() - whole <= MAX_INCOMPLETE);
        }

        #[test]
        fn no_bytes_wait_for_ever(page: Vec<u8>) {
            prop_assert!(page.len() - whole(Form::Text, &page, false).unwrap() <= MAX_INCOMPLETE);
        }
    }
}
