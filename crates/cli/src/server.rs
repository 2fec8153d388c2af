//! Flags of the commands that call a server.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_client::{ApiClient, ClientSettings, Token};
use url::Url;

use crate::tls;

/// Address and credentials. Not `Debug`, since it may contain a token.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// URL of a node, or of the load balancer in front of the nodes.
    #[arg(
        long,
        env = "FANFARE_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = base_url
    )]
    server: Url,
    /// PEM file with the certificates to trust in place of the system's, for https.
    #[arg(long, env = "FANFARE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Token. Arguments are visible to other users of this machine: prefer `FANFARE_TOKEN` or `--token-file`.
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// File with the token. Overrides --token; read again for each connection.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Creates the client. `silence` is the maximum time without data before a response counts as dead.
    ///
    /// # Errors
    ///
    /// Fails if there is no certificate to trust.
    pub(crate) fn client(self, silence: Option<Duration>) -> anyhow::Result<ApiClient> {
        let tls = tls::verified(&self.server, self.ca.as_deref())?;
        let token = self.token_file.map(Token::File).or(self.token.map(Token::Text));
        Ok(ApiClient::new(ClientSettings { token, silence, ..ClientSettings::new(self.server, tls) })?)
    }
}

/// The same without a default: what is asked only if an address is given.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct OptionalServer {
    /// URL of the load balancer in front of the nodes, as clients have it.
    #[arg(long, env = "FANFARE_SERVER", value_name = "URL", value_parser = base_url)]
    server: Option<Url>,
    /// PEM file with the certificates to trust in place of the system's, for https.
    #[arg(long, env = "FANFARE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Token. Arguments are visible to other users of this machine: prefer `FANFARE_TOKEN` or `--token-file`.
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// File with the token. Overrides --token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl OptionalServer {
    /// Returns the address and the credentials, if there is an address.
    pub(crate) fn given(self) -> Option<ServerArgs> {
        let Self { server, ca, token, token_file } = self;
        Some(ServerArgs { server: server?, ca, token, token_file })
    }
}

/// Parses the maximum number of what is listed.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of at least 1".into()),
        Ok(limit) => Ok(limit),
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{e}; expected a URL like http://127.0.0.1:8080"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("expected a URL like http://127.0.0.1:8080 or https://sse.example".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "127.0.0.1:8080", "ftp://h", "http://", "https://"] {
            assert!(base_url(bad).is_err(), "{bad:?}");
        }
    }
}
