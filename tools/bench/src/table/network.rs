//! The network that everything runs in: firewall rules and connection tracking are charged to each packet.

use std::fs;

use serde::{Deserialize, Serialize};

/// Whose network it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Network {
    /// A namespace with nothing but loopback, made for the measurement.
    Own,
    /// What the machine uses for everything else.
    Machine,
}

impl Network {
    /// Looks at the one that this process is in.
    pub(super) fn look() -> anyhow::Result<Self> {
        Ok(Self::of(&fs::read_to_string("/proc/self/net/dev")?))
    }

    /// The kernel's packet counters of each interface distinguish them: a new namespace may have more interfaces than
    /// loopback (`sit0`, `tunl0`), but they have no traffic. A machine without any traffic would look the same.
    fn of(counters: &str) -> Self {
        let interfaces = counters.lines().filter_map(|line| line.split_once(':'));
        let mut others = interfaces.filter(|(name, _)| name.trim() != "lo");
        let silent = |counters: &str| counters.split_whitespace().all(|count| count == "0");
        if others.all(|(_, counters)| silent(counters)) { Self::Own } else { Self::Machine }
    }

    /// In the document's words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Own => "a separate namespace",
            Self::Machine => "the machine's, with its firewall rules",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Inter-|   Receive                            |  Transmit\n face |bytes packets|bytes packets\n";

    #[test]
    fn a_network_is_its_own_if_nothing_goes_out_of_it() {
        let of = |lines: &str| Network::of(&format!("{HEAD}{lines}"));
        let loopback = "    lo: 512 4 0 0 0 0 0 0 512 4 0 0 0 0 0 0\n";
        assert_eq!(of(loopback), Network::Own);
        assert_eq!(of(&format!("{loopback}  sit0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")), Network::Own);
        assert_eq!(of(&format!("  eth0: 90 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n{loopback}")), Network::Machine);
        assert_eq!(of(&format!("{loopback}  eth0: 0 0 0 0 0 0 0 0 90 1 0 0 0 0 0 0\n")), Network::Machine);
    }
}
