//! URLs from which a node fetches what it trusts.

use url::{Host, Url};

/// Returns why a URL cannot be used, or `None` if it can. `http`: whether it may be plain HTTP on any host.
pub(crate) fn wrong(url: &str, http: bool) -> Option<&'static str> {
    let Ok(url) = Url::parse(url) else { return Some("not a URL") };
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Some("not a URL with a host"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some("the URL has a user or a password");
    }
    match url.scheme() {
        "https" => None,
        "http" if http || is_local => None,
        "http" => {
            Some("an attacker on the network path could replace the keys or the answers of an http URL")
        }
        _ => Some("neither https nor http"),
    }
}
