//! Settings of the node itself: `[node]`.

use std::net::SocketAddr;

use fanfare_broker::NodeId;
use serde_json::{Value as Json, json};

use crate::setting::settings;
use crate::value::{Input, Value, text};

settings! {
    /// `[node]`: name and addresses.
    pub struct NodeConfig = "node", |config| config.node => {
        /// Node name, unique in the cluster. Default: the host name and six random characters.
        id: NodeId;
        /// Listen address for clients. Port 0 picks any free port.
        listen: SocketAddr = "0.0.0.0:8080";
        /// The `host:port` that `/v1/nodes` shows. Default: the listen address.
        address: Option<String>;
        /// Whether each connection begins with a PROXY protocol v2 header. Only `http.trusted_proxies` may connect
        /// then.
        proxy_protocol: bool = "false";
    }
}

impl NodeConfig {
    /// Returns the address that `/v1/nodes` shows for a node bound to `bound`.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        match &self.address {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("{}:{}", host_name(), bound.port()),
            None => bound.to_string(),
        }
    }
}

impl Value for NodeId {
    fn read(input: &Input) -> Result<Self, String> {
        Self::new(&text(input)?).map_err(|error| error.to_string())
    }

    fn right() -> String {
        "1 to 128 ASCII letters, digits, '-', '.' and '_'".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[-._A-Za-z0-9]{1,128}$" })
    }

    fn unset() -> Self {
        random_id()
    }
}

/// Returns the host name and six random characters.
fn random_id() -> NodeId {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
    let id = format!("{}-{}", host_name(), random.to_ascii_lowercase());
    // The host name is reduced to the alphabet of node ids and 64 characters.
    NodeId::new(&id).expect("a host name of the right alphabet and length makes a node id")
}

/// Returns the host name without characters that a node id may not have.
fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ['-', '.', '_'].contains(c);
    let name: String = name.to_string_lossy().chars().filter(allowed).take(64).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_found_by_its_hosts_name() {
        let config = NodeConfig::default();
        assert_eq!(config.advertised("10.0.0.7:80".parse().unwrap()), "10.0.0.7:80");
        assert_eq!(config.advertised("0.0.0.0:80".parse().unwrap()), format!("{}:80", host_name()));
        let advertised = NodeConfig { address: Some("a.example:1".into()), ..config };
        assert_eq!(advertised.advertised("0.0.0.0:80".parse().unwrap()), "a.example:1");
    }
}
