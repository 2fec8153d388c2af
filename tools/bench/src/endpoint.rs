//! A server as the measurement sees it: where streams are opened, and how events come in.

use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;

use crate::signer::Signer;

/// Who gets an event. The *target* of an event is a number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every stream gets every event; there is one target.
    All,
    /// Each stream has this number of separate targets: a user, or channels that no other stream follows.
    Each(usize),
}

impl Audience {
    /// Returns how many targets there are with so many streams.
    pub fn targets(self, streams: usize) -> usize {
        match self {
            Self::All => 1,
            Self::Each(targets) => streams * targets,
        }
    }

    /// Returns the targets of one stream.
    pub fn of(self, stream: usize) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..1,
            Self::Each(targets) => stream * targets..(stream + 1) * targets,
        }
    }
}

/// How events come in. In the texts `{target}` stands for the target, `{data}` for the event's data and `{escaped}`
/// for it as a part of a JSON string.
#[derive(Clone, Debug)]
pub enum Way {
    /// One request for each event, over connections that stay.
    Http {
        /// Address of the server.
        address: SocketAddr,
        /// Path and query.
        path: String,
        /// Header lines.
        headers: Vec<String>,
        /// The body.
        body: String,
    },
    /// One command for each event, pipelined over one connection.
    Redis {
        /// Address of the server.
        address: SocketAddr,
        /// The command's words.
        command: Vec<String>,
    },
}

/// One server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where streams are opened.
    pub address: SocketAddr,
    /// Path and query of a stream: `{user}` is the stream's number, `{session}` a session id, `{channels}` a `&channel=c<target>` for each
    /// target.
    pub stream: String,
    /// Header lines of a stream's request; `{token}` is a token for the user.
    pub headers: Vec<String>,
    /// What signs those tokens.
    pub signer: Option<Signer>,
    /// What a stream has to say before it counts as open; empty: nothing but the head of its answer.
    pub ready: String,
    /// How events come in; none where nothing is published.
    pub way: Option<Way>,
}

/// What cannot be used as a place.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not `http://host:port/path`.
    #[error("{0:?} is not a URL like http://127.0.0.1:8080/path")]
    Url(String),
}

/// Takes a URL apart into an address and the rest. Braces are left alone.
///
/// # Errors
///
/// Fails if it is none, or its host has no address.
pub fn place(url: &str) -> Result<(SocketAddr, String), EndpointError> {
    let wrong = || EndpointError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    host.parse::<Uri>().map_err(|_| wrong())?;
    let address = host.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)?;
    Ok((address, if path.is_empty() { "/" } else { path }.to_owned()))
}

impl Endpoint {
    /// Creates a server that wants no headers and whose streams are open when it has answered.
    pub fn new(address: SocketAddr, stream: &str, way: Way) -> Self {
        Self {
            address,
            stream: stream.to_owned(),
            headers: Vec::new(),
            signer: None,
            ready: String::new(),
            way: Some(way),
        }
    }

    /// Returns the requests of all streams, made beforehand so that it costs nothing while time is taken.
    pub(super) fn requests(&self, streams: usize, audience: Audience) -> Vec<String> {
        (0..streams).map(|stream| self.request(stream, audience)).collect()
    }

    /// Returns a stream's request without the blank line at its end, so that a header may be added.
    fn request(&self, stream: usize, audience: Audience) -> String {
        let user = stream.to_string();
        let session = format!("00000000-0000-4000-8000-{stream:012}");
        let mut path = self.stream.replace("{user}", &user).replace("{session}", &session);
        if path.contains("{channels}") {
            let channels: Vec<String> =
                audience.of(stream).map(|target| format!("&channel=c{target}")).collect();
            path = path.replace("{channels}", &channels.concat());
        }
        let mut request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n", self.address);
        for header in &self.headers {
            let token = match &self.signer {
                Some(signer) if header.contains("{token}") => signer.token(&user),
                _ => String::new(),
            };
            request.push_str(&header.replace("{token}", &token));
            request.push_str("\r\n");
        }
        request
    }
}

impl Way {
    /// The bytes that publish one event.
    pub(super) fn encode(&self, target: usize, data: &str, out: &mut Vec<u8>) {
        match self {
            Self::Http { address, path, headers, body } => {
                let path = fill(path, target, data);
                let body = fill(body, target, data);
                let head =
                    format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
                out.extend_from_slice(head.as_bytes());
                for header in headers {
                    out.extend_from_slice(header.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(body.as_bytes());
            }
            Self::Redis { command, .. } => {
                let mut packed = redis::Cmd::new();
                for word in command {
                    packed.arg(fill(word, target, data));
                }
                out.extend_from_slice(&packed.get_packed_command());
            }
        }
    }
}

fn fill(text: &str, target: usize, data: &str) -> String {
    let mut text = text.replace("{target}", &target.to_string());
    if text.contains("{escaped}") {
        let json = serde_json::Value::from(data).to_string();
        text = text.replace("{escaped}", &json[1..json.len() - 1]);
    }
    text.replace("{data}", data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_with_its_braces() {
        let (address, path) = place("http://127.0.0.1:80/v1/events?user={user}").unwrap();
        assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:80", "/v1/events?user={user}"));
        assert_eq!(place("http://127.0.0.1:80").unwrap().1, "/");
        for wrong in ["https://127.0.0.1:80/", "127.0.0.1:80", "http://127.0.0.1", "http://"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stream_asks_for_what_is_its_own() {
        let endpoint = Endpoint {
            address: "127.0.0.1:80".parse().unwrap(),
            stream: "/e?user={user}&s={session}{channels}".into(),
            headers: vec!["Authorization: Bearer {token}".into()],
            signer: Some(Signer::Secret("0123456789abcdef0123456789abcdef".into())),
            ready: String::new(),
            way: None,
        };
        let requests = endpoint.requests(3, Audience::Each(2));
        assert!(
            requests[1].starts_with(
                "GET /e?user=1&s=00000000-0000-4000-8000-000000000001&channel=c2&channel=c3 HTTP/1.1\r\n"
            ),
            "{}",
            requests[1]
        );
        let token = requests[1].split("Bearer ").nth(1).unwrap();
        assert_eq!(token.trim_end().split('.').count(), 3);
        assert!(requests.iter().all(|request| request.ends_with("\r\n") && !request.ends_with("\r\n\r\n")));
    }

    #[test]
    fn an_event_is_put_into_each_kind_of_text() {
        let address = "127.0.0.1:80".parse().unwrap();
        let (mut http, mut redis) = (Vec::new(), Vec::new());
        let way = Way::Http {
            address,
            path: "/p/{target}".into(),
            headers: vec!["A: b".into()],
            body: r#"{"d":"{escaped}"}"#.into(),
        };
        way.encode(7, r#"say "x""#, &mut http);
        let wanted = "POST /p/7 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 17\r\nA: b\r\n\r\n{\"d\":\"say \\\"x\\\"\"}";
        assert_eq!(String::from_utf8(http).unwrap(), wanted);
        let command = ["FCALL", "{user:{target}}", "", "{data}"].map(Into::into).to_vec();
        Way::Redis { address, command }.encode(7, "x", &mut redis);
        assert_eq!(
            String::from_utf8(redis).unwrap(),
            "*4\r\n$5\r\nFCALL\r\n$8\r\n{user:7}\r\n$0\r\n\r\n$1\r\nx\r\n"
        );
    }
}
