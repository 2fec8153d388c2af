//! A primary and its replica, watched by Redis Sentinel.

use std::net::SocketAddr;

use redis::RedisResult;

use super::Redis;
use crate::deadline::{SOON, until};
use crate::loopback;

/// The ports of the servers, and those of the Sentinels.
const SERVERS: [u16; 2] = [6379, 6381];
const SENTINELS: [u16; 3] = [26379, 26380, 26381];

/// A primary, one replica, and three Sentinels. All are killed when dropped.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Redis {
    /// A primary with one replica, watched by three Sentinels, which promote the replica within seconds after the primary
    /// has died.
    ///
    /// # Panics
    ///
    /// When they are not ready soon.
    pub async fn sentinel() -> RedisSentinel {
        let ip = loopback::address();
        let [primary, replica] = SERVERS.map(|port| SocketAddr::from((ip, port)));
        let (ip_text, port_text) = (ip.to_string(), primary.port().to_string());
        let announce = ["--replica-announce-ip", &ip_text, "--repl-diskless-sync-delay", "0"];
        let follow = ["--replicaof", &ip_text, &port_text];
        let servers = vec![
            Self::new(primary, &announce).started().await,
            Self::new(replica, &[&announce[..], &follow].concat()).started().await,
        ];
        let mut sentinels = Vec::new();
        for port in SENTINELS {
            let mut sentinel = Self::new((ip, port).into(), &[]);
            sentinel.sentinel = true;
            let name = RedisSentinel::NAME;
            let config = format!(
                "sentinel monitor {name} {ip} {} 2\nsentinel down-after-milliseconds {name} 1000\n\
                 sentinel failover-timeout {name} 5000\nsentinel announce-ip {ip}\nsentinel announce-port {port}\n",
                primary.port()
            );
            std::fs::write(sentinel.config_file(), config).expect("our own file");
            sentinels.push(sentinel.started().await);
        }
        let redis = RedisSentinel { servers, sentinels };
        until("the Sentinels know all", SOON, async || redis.check().await).await;
        redis
    }
}

impl RedisSentinel {
    /// The name of the primary, by which clients ask for its address.
    pub const NAME: &str = "fanfare";

    /// Both servers. Which is the primary changes.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The server at an index of [`Self::servers`], to stop it and to start it again. The Sentinels make an old primary that
    /// comes back a replica 10 to 20 s later.
    pub fn server(&mut self, index: usize) -> &mut Redis {
        &mut self.servers[index]
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The index of the primary, as the first Sentinel that runs sees it.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    ///
    /// # Panics
    ///
    /// When no Sentinel runs.
    pub async fn primary(&self) -> RedisResult<Option<usize>> {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("a Sentinel runs");
        let (ip, port): (String, String) =
            sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME]).await?;
        let address = format!("{ip}:{port}");
        Ok(self.servers.iter().position(|server| server.address.to_string() == address))
    }

    /// Every Sentinel knows the other Sentinels and the replica, and the replica has what its primary has.
    async fn check(&self) -> Result<(), String> {
        let replication: String =
            self.servers[1].ask(&["INFO", "replication"]).await.map_err(|e| e.to_string())?;
        if !replication.contains("master_link_status:up") {
            return Err(replication);
        }
        let known = format!("slaves={},sentinels={}", SERVERS.len() - 1, SENTINELS.len());
        for sentinel in &self.sentinels {
            let info: String = sentinel.ask(&["INFO", "sentinel"]).await.map_err(|e| e.to_string())?;
            if !info.contains("status=ok") || !info.contains(&known) {
                return Err(info);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_replica_has_the_writes_and_is_promoted_when_the_primary_dies() {
        let mut redis = Redis::sentinel().await;
        let dead = redis.primary().await.unwrap().unwrap();
        redis.servers[dead].get::<()>(&["SET", "key", "1"]).await;
        until("the replica has the key", SOON, async || {
            let value: Option<String> = redis.servers[1 - dead].get(&["GET", "key"]).await;
            value.ok_or("it does not")
        })
        .await;
        redis.server(dead).kill();
        until("the replica is promoted", SOON, async || match redis.primary().await {
            Ok(Some(primary)) if primary != dead => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        // Sentinel announces it when it has been promoted.
        redis.servers[1 - dead].get::<()>(&["SET", "key", "2"]).await;
    }
}
