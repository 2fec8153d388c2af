//! The head of an HTTP/1.1 response (RFC 9112).

/// Status line and header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head from the beginning of what arrived. Gives back the head and its length with the empty line; none
    /// while the empty line is missing.
    ///
    /// # Errors
    ///
    /// When it is not a head.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|e| format!("the head is not text: {e}"))?;
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("not a status line: {status_line:?}"))?;
        let fields = lines.map(|line| match line.split_once(':') {
            Some((name, value)) => Ok((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => Err(format!("not a field: {line:?}")),
        });
        Ok(Some((Self { status, fields: fields.collect::<Result<_, _>>()? }, end + 4)))
    }

    /// A field's value; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nX:\r\n\r\nbody";
        assert_eq!(Head::parse(&text[..20]), Ok(None));
        let (head, length) = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.field("content-type"), head.field("x")), (200, "a", ""));
        assert_eq!(&text[length..], b"body");
        assert!(Head::parse(b"HTTP/2 200\r\n\r\n").is_err());
    }
}
