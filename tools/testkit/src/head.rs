//! The head of an HTTP/1 response (RFC 9112).

/// The longest head that is read, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most fields that a head may have.
const MAX_FIELDS: usize = 64;

/// Status line and header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The minor version: 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The status code.
    pub status: u16,
    /// Names in lower case and values, in order.
    pub fields: Vec<(String, String)>,
}

/// Why bytes are not the head of a response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The syntax of HTTP/1 is violated.
    #[error("the response is not HTTP/1: {0}")]
    Syntax(#[from] httparse::Error),
    /// The head is longer than [`MAX_HEAD`].
    #[error("the response head has more than {MAX_HEAD} bytes")]
    TooLong,
    /// The value of a field is not UTF-8.
    #[error("the header field {0} is not UTF-8")]
    Field(String),
}

impl Head {
    /// Returns the head at the start of these bytes and its length with the empty line; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not the beginning of a response.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response.parse(bytes)? else {
            return if bytes.len() > MAX_HEAD { Err(HeadError::TooLong) } else { Ok(None) };
        };
        let fields = response.headers.iter().map(|field| match std::str::from_utf8(field.value) {
            Ok(value) => Ok((field.name.to_ascii_lowercase(), value.trim().to_owned())),
            Err(_) => Err(HeadError::Field(field.name.to_owned())),
        });
        let head = Self {
            minor_version: response.version.unwrap_or_default(),
            status: response.code.unwrap_or_default(),
            fields: fields.collect::<Result<_, _>>()?,
        };
        Ok(Some((head, length)))
    }

    /// Returns the value of a field; empty if there is none. `name` is in lower case.
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns the media type without its parameters, in lower case; empty if there is none.
    pub fn media_type(&self) -> String {
        self.field("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Returns whether the connection serves another request afterwards.
    pub fn keep_alive(&self) -> bool {
        self.minor_version == 1 && !self.field("connection").eq_ignore_ascii_case("close")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nX:\r\n\r\nbody";
        let length = text.len() - 4;
        for end in 0..length {
            assert_eq!(Head::parse(&text[..end]), Ok(None));
        }
        let (head, found) = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.field("x"), found), (200, "", length));
        assert_eq!((head.media_type().as_str(), head.keep_alive()), ("text/event-stream", true));
    }

    #[test]
    fn a_connection_stays_only_if_both_sides_keep_it() {
        let stays = |text: &str| Head::parse(text.as_bytes()).unwrap().unwrap().0.keep_alive();
        assert!(stays("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!stays("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n"));
        assert!(!stays("HTTP/1.0 200 OK\r\n\r\n"));
    }

    #[test]
    fn bytes_that_are_not_a_head_are_refused() {
        for bad in [&b"HTTP/2 200\r\n\r\n"[..], b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nx: \xff\r\n\r\n"]
        {
            assert!(Head::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
