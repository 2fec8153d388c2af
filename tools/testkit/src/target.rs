//! Where the cluster is reached over HTTP, and sockets to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use http::Uri;
use tokio::net::{TcpStream, lookup_host};

use crate::tcp;

/// How many loopback addresses clients connect from. Each has tens of thousands of ports of its own.
const SOURCES: usize = 200;

/// The smallest receive buffer, in bytes.
const SMALL: u32 = 4096;

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No URL, or not one that this program speaks.
    #[error("{0:?} is not a URL like http://host:port")]
    Url(String),
    /// Its host has no address.
    #[error("no address for {host}: {error}")]
    Host {
        /// The host and port.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
}

/// A place that is reached over plain HTTP.
#[derive(Clone, Debug)]
pub struct Target {
    authority: String,
    address: SocketAddr,
}

impl Target {
    /// Looks the URL's host up, once.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not `http://host[:port]`, or the host has no address.
    pub async fn resolve(url: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let host = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let failed = |error| TargetError::Host { host: host.clone(), error };
        let address = lookup_host(&host).await.map_err(failed)?.next();
        let address = address.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Ok(Self { authority: authority.to_string(), address })
    }

    /// Returns what the `Host` header says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens a connection. `number` is whose it is: on the loopback interface it chooses the address to come from, so
    /// that many clients do not use up the ports of one.
    ///
    /// # Errors
    ///
    /// Fails if there is no connection.
    pub async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        self.connect_with(number, None).await
    }

    /// Connects with a minimal receive buffer, which is soon full if it is not read.
    ///
    /// # Errors
    ///
    /// Fails if there is no connection.
    pub async fn connect_small(&self, number: usize) -> io::Result<TcpStream> {
        self.connect_with(number, Some(SMALL)).await
    }

    async fn connect_with(&self, number: usize, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
        // Always below 200.
        let last = u8::try_from(number % SOURCES).unwrap_or_default();
        let from = self.address.is_ipv4() && self.address.ip().is_loopback();
        let from = from.then(|| Ipv4Addr::new(127, 0, 1, last + 1));
        tcp::connect(self.address, from, receive_buffer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_names_host_and_port() {
        let target = Target::resolve("http://127.0.0.1:8080/").await.unwrap();
        assert_eq!(
            (target.authority(), target.address),
            ("127.0.0.1:8080", "127.0.0.1:8080".parse().unwrap())
        );
        for wrong in ["https://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1/path", ""] {
            let error = Target::resolve(wrong).await.unwrap_err();
            assert!(matches!(error, TargetError::Url(_)), "{wrong}: {error}");
        }
    }
}
