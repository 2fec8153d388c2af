//! Checks the URL of Redis.
//!
//! The client library ignores what it does not know, and its errors may contain parts of the URL. Here everything that would
//! be ignored is refused, and no error repeats what may be a part of a password.

use ::redis::IntoConnectionInfo;
use url::{ParseError, Url};

const TCP: [&str; 2] = ["redis", "rediss"];
const SOCKET: [&str; 2] = ["unix", "redis+unix"];

/// Why a text is not the URL of a Redis that a node can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no scheme, or another one.
    #[error("{0}")]
    Scheme(&'static str),
    /// It has no host.
    #[error("not a Redis URL: it has no host")]
    Host,
    /// The host cannot be connected to.
    #[error("0.0.0.0 and :: are no addresses to connect to")]
    Wildcard,
    /// The port is no number in the range of ports.
    #[error(
        "the port is not a number from 1 to 65535 (in a password, write '/', '?', '#', '@' and ':' as %2F, %3F, %23, %40 and %3A)"
    )]
    Port,
    /// The path is neither a database nor a socket's path.
    #[error("the path after the host is not the number of a database")]
    Path,
    /// The URL of a socket has no path, or has a host.
    #[error("not the path of a socket: three slashes are needed, like unix:///run/redis.sock")]
    Socket,
    /// It selects another database than 0.
    #[error(
        "the URL selects database {0}, but Pub/Sub ignores databases: clusters in two databases would receive each other's events"
    )]
    Database(String),
    /// It has a query parameter that would be ignored.
    #[error("unknown query parameter{0}: it would be ignored")]
    Parameter(String),
    /// It has a fragment, which would be ignored.
    #[error(
        "the URL has a fragment (text after '#'), which would be ignored (in a password, write '#' as %23)"
    )]
    Fragment,
    /// The client library refuses it for another reason.
    #[error("not a Redis URL")]
    Other,
}

impl UrlError {
    /// Returns what is right instead.
    pub fn right(&self) -> &'static str {
        match self {
            Self::Database(_) => {
                "a URL without a database (database 0), and a different redis.prefix for each cluster"
            }
            Self::Path | Self::Parameter(_) | Self::Fragment => {
                "redis://[[user]:password@]host[:port], rediss:// with TLS, or unix:///path[?user=…&pass=…]; only database 0, \
                 and a different redis.prefix for each cluster"
            }
            _ => "redis://[[user]:password@]host[:port], rediss:// with TLS, or unix:///path",
        }
    }
}

/// Checks a URL.
///
/// # Errors
///
/// Fails if the URL is invalid, selects another database than 0, or has a part that would be ignored.
pub(super) fn check(text: &str) -> Result<(), UrlError> {
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => {
            UrlError::Scheme("not a Redis URL: it has no scheme like redis://")
        }
        ParseError::InvalidPort => UrlError::Port,
        ParseError::EmptyHost => UrlError::Host,
        _ => UrlError::Other,
    })?;
    let is_socket = SOCKET.contains(&url.scheme());
    if !is_socket && !TCP.contains(&url.scheme()) {
        return Err(UrlError::Scheme(match url.scheme() {
            "redis-cluster" | "rediss-cluster" | "redis+cluster" | "rediss+cluster" => {
                "this is the URL of a Redis Cluster, which Fanfare does not support yet"
            }
            "redis-sentinel" | "rediss-sentinel" | "redis+sentinel" | "rediss+sentinel" | "sentinel" => {
                "this is the URL of Redis Sentinel, which Fanfare does not support yet"
            }
            "valkey" => "for Valkey, too, the scheme is redis://",
            "valkeys" => "for Valkey, too, the scheme with TLS is rediss://",
            _ => "not a Redis URL: its scheme is another one",
        }));
    }
    if is_socket {
        check_socket(&url)?;
    } else {
        check_host(&url)?;
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    check_query(&url, is_socket)?;
    text.into_connection_info().map(|_| ()).map_err(|_| UrlError::Other)
}

fn check_socket(url: &Url) -> Result<(), UrlError> {
    let path = url.path();
    let is_path = path.starts_with('/') && path.len() > 1 && url.to_file_path().is_ok();
    if is_path { Ok(()) } else { Err(UrlError::Socket) }
}

fn check_host(url: &Url) -> Result<(), UrlError> {
    match url.host_str() {
        None | Some("") => return Err(UrlError::Host),
        Some("0.0.0.0" | "[::]") => return Err(UrlError::Wildcard),
        Some(_) => {}
    }
    if url.port() == Some(0) {
        return Err(UrlError::Port);
    }
    match url.path().trim_matches('/') {
        "" => Ok(()),
        path => database(path).unwrap_or(Err(UrlError::Path)),
    }
}

fn check_query(url: &Url, is_socket: bool) -> Result<(), UrlError> {
    for (name, value) in url.query_pairs() {
        match &*name {
            "db" => database(&value).unwrap_or_else(|| Err(unknown(url, "db")))?,
            // Nodes always use RESP3.
            "protocol" if matches!(&*value, "3" | "resp3") => {}
            "user" | "pass" if is_socket => {}
            name => return Err(unknown(url, name)),
        }
    }
    Ok(())
}

/// Checks the number of a database; `None` if it is none.
fn database(text: &str) -> Option<Result<(), UrlError>> {
    match text.parse::<i64>() {
        Ok(0) => Some(Ok(())),
        Ok(other) => Some(Err(UrlError::Database(other.to_string()))),
        Err(_) => None,
    }
}

/// Names a parameter, unless it may be a part of a password.
fn unknown(url: &Url, name: &str) -> UrlError {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let is_safe = is_name && url.query().is_some_and(|query| query.contains('=') && !query.contains('@'));
    UrlError::Parameter(if is_safe { format!(" '{name}'") } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_accepted_if_every_part_of_it_is_used() {
        for url in [
            "redis://h",
            "redis://h/",
            "redis://h/0",
            "rediss://ann:hunter2@h:1/0",
            "redis://[::1]:6379",
            "redis://h?db=0",
            "redis://h?protocol=resp3",
            "redis://:pa%3Fss%23@h",
            "unix:///run/1",
            "unix:///run/redis.sock?db=0",
            "redis+unix:///run/redis.sock?user=ann&pass=hunter2",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn every_database_but_0_is_refused_however_it_is_named() {
        for (url, database) in [
            ("redis://h/1", "1"),
            ("rediss://h/2/", "2"),
            ("redis://[::1]/-1", "-1"),
            ("redis://h?db=3", "3"),
            ("redis://h/0?db=4", "4"),
            ("redis://h?protocol=resp3&db=5", "5"),
            ("unix:///run/redis.sock?db=6", "6"),
            ("redis+unix:///run/redis.sock?user=ann&pass=hunter2&db=7", "7"),
        ] {
            let error = check(url).expect_err(url);
            assert_eq!(error, UrlError::Database(database.into()), "{url}");
            assert!(error.right().contains("redis.prefix"), "{url}");
        }
    }

    #[test]
    fn the_error_says_what_is_wrong_and_repeats_no_secret() {
        for (url, words) in [
            ("", "no scheme"),
            ("h:6379", "scheme is another"),
            ("redis//ann:hunter2@x", "no scheme"),
            ("http://ann:hunter2@x", "scheme is another"),
            ("redis-cluster://ann:hunter2@h", "Redis Cluster"),
            ("redis-sentinel://h", "Sentinel"),
            ("valkey://h", "redis://"),
            ("redis://", "no host"),
            ("redis://:6379", "no host"),
            ("redis://0.0.0.0", "no addresses to connect to"),
            ("redis://h:99999", "port"),
            ("redis://h:0", "port"),
            ("redis://h:port", "port"),
            ("redis://ann:hunter2@:x:y", "no host"),
            ("redis://ann:hunter2/x@h", "port"),
            ("redis://ann:12/hunter2@h", "path"),
            ("redis://h/x", "path"),
            ("redis://h?db=x", "'db'"),
            ("redis://h?database=1", "'database'"),
            ("redis://h?DB=1", "'DB'"),
            ("redis://h?protocol=resp2", "'protocol'"),
            ("redis://h?user=ann&pass=hunter2", "'user'"),
            ("redis://ann:12?hunter2=@h", "parameter:"),
            ("redis://ann:12?hunter2", "parameter:"),
            ("unix:///run/redis.sock?password=hunter2", "'password'"),
            ("redis://h#1", "fragment"),
            ("rediss://h#insecure", "fragment"),
            ("redis://ann:12#hunter2@h", "fragment"),
            ("unix:///run/redis.sock#1", "fragment"),
            ("unix://", "three slashes"),
            ("unix://run/redis.sock", "three slashes"),
        ] {
            let error = check(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert!(text.contains(words) && !text.contains("hunter2"), "{url}: {text}");
            assert!(error.right().starts_with("redis://"), "{url}");
        }
    }
}
