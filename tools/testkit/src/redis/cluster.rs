//! A Redis Cluster of real servers.

use std::net::SocketAddr;

use redis::RedisResult;

use super::Redis;
use crate::deadline::{SOON, until};
use crate::loopback;

/// The port of the first server. The others have the next ones, and each has a second port for the cluster.
const FIRST_PORT: u16 = 7000;

/// Primaries, each with one replica and an even part of the slots. All are killed when dropped.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<Redis>,
}

/// A server as others see it, by `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    address: SocketAddr,
    flags: Vec<String>,
    /// First and last slot of each range; none of a replica.
    slots: Vec<(u16, u16)>,
}

impl Redis {
    /// A Redis Cluster of so many primaries, at least 3. A replica takes over within seconds after its primary has died.
    ///
    /// # Panics
    ///
    /// When the cluster is not ready soon.
    pub async fn cluster(primaries: u16) -> RedisCluster {
        let ip = loopback::address();
        let mut servers = Vec::new();
        for port in (FIRST_PORT..).take(2 * usize::from(primaries)) {
            let arguments = [
                ["--cluster-enabled", "yes"],
                ["--cluster-node-timeout", "2000"],
                ["--cluster-announce-ip", &ip.to_string()],
                ["--replica-announce-ip", &ip.to_string()],
                ["--repl-diskless-sync-delay", "0"],
            ];
            servers.push(Self::new((ip, port).into(), arguments.as_flattened()).started().await);
        }
        let cluster = RedisCluster { servers };
        let addresses: Vec<_> = cluster.servers.iter().map(|server| server.address.to_string()).collect();
        let create = ["--cluster", "create"].into_iter().chain(addresses.iter().map(String::as_str));
        let create: Vec<_> = create.chain(["--cluster-replicas", "1", "--cluster-yes"]).collect();
        cluster.servers[0].cli(&create).await;
        until("the cluster is ready", SOON, async || cluster.check().await).await;
        cluster
    }
}

impl RedisCluster {
    /// All servers. Which of them are primaries changes.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The server at an index of [`Self::servers`], to stop it and to start it again.
    pub fn server(&mut self, index: usize) -> &mut Redis {
        &mut self.servers[index]
    }

    /// The index of the primary that has a key, as the other servers see it; none while it is down.
    ///
    /// # Errors
    ///
    /// When no server answers.
    pub async fn primary_of(&self, key: &str) -> RedisResult<Option<usize>> {
        let running = self.servers.iter().find(|server| server.is_running()).expect("a server runs");
        let slot: u16 = running.ask(&["CLUSTER", "KEYSLOT", key]).await?;
        let members = members(&running.ask::<String>(&["CLUSTER", "NODES"]).await?);
        let primary = members.into_iter().find(|member| member.has(slot) && !member.is_down());
        Ok(primary.and_then(|primary| {
            self.servers.iter().position(|server| server.is_running() && server.address == primary.address)
        }))
    }

    /// A key of each shard: one for each primary.
    ///
    /// # Panics
    ///
    /// When a server does not answer.
    pub async fn a_key_of_each_shard(&self) -> Vec<String> {
        let shards = self.servers.len() / 2;
        let mut keys: Vec<(usize, String)> = Vec::new();
        for number in 0.. {
            let key = format!("key-{number}");
            let primary =
                self.primary_of(&key).await.expect("the cluster answers").expect("every slot is served");
            if keys.iter().all(|(other, _)| *other != primary) {
                keys.push((primary, key));
            }
            if keys.len() == shards {
                break;
            }
        }
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// Every server serves all slots, and every replica has what its primary has.
    async fn check(&self) -> Result<(), String> {
        for server in &self.servers {
            let info: String = server.ask(&["CLUSTER", "INFO"]).await.map_err(|e| e.to_string())?;
            let members: String = server.ask(&["CLUSTER", "NODES"]).await.map_err(|e| e.to_string())?;
            let replication: String =
                server.ask(&["INFO", "replication"]).await.map_err(|e| e.to_string())?;
            let has_all = self.servers.len() == members.lines().count();
            let has_data =
                replication.contains("master_link_status:up") || replication.contains("state=online");
            if !info.contains("cluster_state:ok") || !has_all || !has_data {
                return Err(format!("{}: {info}{members}{replication}", server.address));
            }
        }
        Ok(())
    }
}

impl Member {
    fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }

    fn is_down(&self) -> bool {
        self.flags.iter().any(|flag| flag == "fail" || flag == "fail?")
    }
}

/// Reads `CLUSTER NODES`: id, address, flags, and from the ninth word on the slots.
fn members(text: &str) -> Vec<Member> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let member = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let address = words.get(1)?.split('@').next()?.parse().ok()?;
        let flags = words.get(2)?.split(',').map(str::to_owned).collect();
        Some(Member { address, flags, slots: words.iter().skip(8).filter_map(|word| range(word)).collect() })
    };
    text.lines().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_shard_takes_a_write_and_a_replica_takes_over() {
        let mut cluster = Redis::cluster(3).await;
        let keys = cluster.a_key_of_each_shard().await;
        assert_eq!(keys.len(), 3);
        for key in &keys {
            let primary = &cluster.servers[cluster.primary_of(key).await.unwrap().unwrap()];
            primary.get::<()>(&["SET", key, "1"]).await;
            assert_eq!(primary.get::<u64>(&["DBSIZE"]).await, 1, "each primary has one of the keys");
        }
        let dead = cluster.primary_of(&keys[0]).await.unwrap().unwrap();
        let replicated = async || {
            let text: String = cluster.servers[dead].get(&["INFO", "replication"]).await;
            let offset = text.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
            let replica = format!(",offset={},", offset.expect("a primary has an offset"));
            if text.contains(&replica) { Ok(()) } else { Err(text) }
        };
        until("the replica has the key", SOON, replicated).await;
        cluster.server(dead).kill();
        let next = until("a replica takes over", SOON, async || match cluster.primary_of(&keys[0]).await {
            Ok(Some(primary)) if primary != dead => Ok(primary),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert_eq!(cluster.servers[next].get::<String>(&["GET", &keys[0]]).await, "1");
        cluster.servers[next].get::<()>(&["SET", &keys[0], "2"]).await;
    }
}
