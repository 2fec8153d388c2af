//! What a stream follows, and where it starts.

use fanfare_protocol::sse::Format;
use fanfare_protocol::{Channel, SessionId};
use reqwest::Url;

/// Parameters of a stream.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// Channels to follow, besides the user's own and `broadcast`.
    pub channels: Vec<Channel>,
    /// Session id. It is the same for each reconnect, so that the cluster sees one client.
    pub session: SessionId,
    /// Start: a cursor, `latest`, `earliest`, or a Unix time in milliseconds.
    pub after: Option<String>,
    /// Start with the newest events of each channel.
    pub last: Option<usize>,
    /// User id, for servers that run with `auth.mode = "none"`.
    pub user: Option<String>,
    /// Format in which the server sends events.
    pub format: Format,
}

impl StreamRequest {
    /// Appends the parameters to the URL of the stream endpoint.
    pub(crate) fn append_to(&self, mut url: Url) -> Url {
        {
            let mut query = url.query_pairs_mut();
            for channel in &self.channels {
                query.append_pair("channel", channel.as_str());
            }
            query.append_pair("session", &self.session.to_string());
            if self.format == Format::Json {
                query.append_pair("format", "json");
            }
            if let Some(after) = &self.after {
                query.append_pair("after", after);
            }
            if let Some(last) = self.last {
                query.append_pair("last", &last.to_string());
            }
            if let Some(user) = &self.user {
                query.append_pair("user", user);
            }
        }
        url
    }
}
