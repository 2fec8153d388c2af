//! Where a reply of Redis ends (RESP2).

use std::io;

/// How deep replies may be nested.
const DEPTH: usize = 8;

/// A reply that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// How many bytes it has.
    pub(super) length: usize,
    /// What it says if it is an error.
    pub(super) error: Option<&'a [u8]>,
}

/// Returns the reply at the start of these bytes; `None` while it is not complete.
///
/// # Errors
///
/// Fails if it never will be one.
pub(super) fn first(bytes: &[u8]) -> io::Result<Option<Reply<'_>>> {
    let Some(length) = length(bytes, DEPTH)? else { return Ok(None) };
    let error = bytes.strip_prefix(b"-").map(|_| &bytes[1..length - 2]);
    Ok(Some(Reply { length, error }))
}

fn length(bytes: &[u8], depth: usize) -> io::Result<Option<usize>> {
    let wrong = || io::Error::other("the answer is none of Redis");
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let after = end + 1;
    let number = || {
        let text = std::str::from_utf8(&bytes[1..end]).map_err(|_| wrong())?;
        text.trim_end().parse::<i64>().map_err(|_| wrong())
    };
    match bytes[0] {
        b'+' | b'-' | b':' => Ok(Some(after)),
        b'$' => {
            let Ok(text) = usize::try_from(number()?) else { return Ok(Some(after)) };
            let all = after + text + 2;
            Ok((bytes.len() >= all).then_some(all))
        }
        b'*' if depth > 0 => {
            let mut all = after;
            for _ in 0..number()? {
                let Some(length) = length(&bytes[all..], depth - 1)? else { return Ok(None) };
                all += length;
            }
            Ok(Some(all))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_reply_ends_where_it_ends() {
        for text in ["+OK\r\n", ":12\r\n", "$-1\r\n", "$3\r\na\nb\r\n", "*2\r\n$3\r\n1-0\r\n:0\r\n", "*0\r\n"]
        {
            let whole = format!("{text}+rest\r\n");
            let reply = first(whole.as_bytes()).unwrap().unwrap();
            assert_eq!((reply.length, reply.error), (text.len(), None), "{text:?}");
            for cut in 0..text.len() {
                assert_eq!(first(&text.as_bytes()[..cut]).unwrap(), None, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn errors_are_told_and_nonsense_is_one() {
        let reply = first(b"-ERR no\r\n").unwrap().unwrap();
        assert_eq!(reply, Reply { length: 9, error: Some(b"ERR no") });
        assert!(first(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(first("*1\r\n".repeat(20).as_bytes()).is_err());
    }
}
