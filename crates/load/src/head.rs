//! The head of a response, and how its body is framed (RFC 9112).

/// The longest head that is read, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most fields a head may have.
const MAX_FIELDS: usize = 64;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Chunks, the last of them empty.
    Chunked,
    /// So many bytes.
    Length(u64),
    /// The end of the connection.
    Close,
}

/// What a client needs to know of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The media type without its parameters, in lower case; empty if there is none.
    pub media_type: String,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection serves another request afterwards.
    pub keep_alive: bool,
}

/// A head that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Syntax(#[from] httparse::Error),
    /// It goes on and on.
    #[error("the answer's head has more than {MAX_HEAD} bytes")]
    TooLong,
    /// A length that is no number.
    #[error("the answer's length {0:?} is not a number")]
    Length(String),
}

impl Head {
    /// Returns the head at the start of these bytes and its length; `None` while it is not complete.
    ///
    /// # Errors
    ///
    /// Fails if it never will be one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response.parse(bytes)? else {
            return if bytes.len() > MAX_HEAD { Err(HeadError::TooLong) } else { Ok(None) };
        };
        let field = |name: &str| {
            let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| String::from_utf8_lossy(field.value).to_ascii_lowercase())
        };
        let framing = if field("transfer-encoding").is_some_and(|codings| codings.ends_with("chunked")) {
            Framing::Chunked
        } else if let Some(length) = field("content-length") {
            Framing::Length(length.parse().map_err(|_| HeadError::Length(length))?)
        } else {
            Framing::Close
        };
        let media_type = field("content-type").unwrap_or_default();
        let head = Self {
            status: response.code.unwrap_or_default(),
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_owned(),
            framing,
            keep_alive: response.version == Some(1) && field("connection").as_deref() != Some("close"),
        };
        Ok(Some((head, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let text = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\nrest";
        let length = text.len() - "rest".len();
        for end in 0..length {
            assert!(Head::parse(&text.as_bytes()[..end]).unwrap().is_none());
        }
        let wanted = Head {
            status: 200,
            media_type: "text/event-stream".into(),
            framing: Framing::Chunked,
            keep_alive: true,
        };
        assert_eq!(Head::parse(text.as_bytes()).unwrap(), Some((wanted, length)));
    }

    #[test]
    fn a_body_ends_by_length_or_with_the_connection() {
        let framing = |text: &str| Head::parse(text.as_bytes()).unwrap().unwrap().0.framing;
        assert_eq!(framing("HTTP/1.1 503 No\r\ncontent-length: 7\r\n\r\n"), Framing::Length(7));
        assert_eq!(framing("HTTP/1.0 200 OK\r\n\r\n"), Framing::Close);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
