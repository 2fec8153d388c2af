//! Redis, two nodes and nginx.

use std::net::SocketAddr;

use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::loopback;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

use crate::account::SHORT;

/// How many nodes there are.
const SIZE: usize = 2;

/// A cluster behind `deploy/nginx.conf`. Its parts end in the order in which they stand here.
pub(crate) struct Stage {
    /// Where clients go.
    pub(crate) balancer: Balancer,
    /// None while a node is down.
    nodes: [Option<Node>; SIZE],
    addresses: [SocketAddr; SIZE],
    /// How many nodes were started: each has a name of its own, so that it waits for no lease.
    started: usize,
    /// What they share.
    pub(crate) redis: Redis,
}

impl Stage {
    /// Everything up.
    pub(crate) async fn set() -> Self {
        let redis = Redis::start().await;
        let [a, b, unused] = [(); 3].map(|()| SocketAddr::from((loopback::address(), 8080)));
        let (addresses, mut nodes, mut started) = ([a, b], [None, None], 0);
        for (node, address) in nodes.iter_mut().zip(addresses) {
            *node = Some(start(&redis, address, &mut started).await);
        }
        // The file is for three nodes. The third is down for good.
        let balancer = Balancer::before(Kind::Nginx, [a, b, unused]).await;
        Self { balancer, nodes, addresses, started, redis }
    }

    /// The places of the nodes.
    pub(crate) fn places() -> std::ops::Range<usize> {
        0..SIZE
    }

    /// Asks a node to leave and waits until it has.
    pub(crate) async fn drain(&mut self, place: usize) {
        let mut node = self.nodes[place].take().expect("the node is up");
        node.terminate();
        let status = node.ended(SOON).await;
        assert!(status.success(), "it left with {status}\n{}", node.log());
    }

    /// Kills a node.
    pub(crate) async fn kill(&mut self, place: usize) {
        self.nodes[place].take().expect("the node is up").kill().await;
    }

    /// Kills all nodes.
    pub(crate) async fn kill_all(&mut self) {
        for place in Self::places() {
            self.kill(place).await;
        }
    }

    /// Starts a node where one was.
    pub(crate) async fn start(&mut self, place: usize) {
        assert!(self.nodes[place].is_none(), "the node is up");
        self.nodes[place] = Some(start(&self.redis, self.addresses[place], &mut self.started).await);
    }

    /// Starts all nodes.
    pub(crate) async fn start_all(&mut self) {
        for place in Self::places() {
            self.start(place).await;
        }
    }
}

async fn start(redis: &Redis, address: SocketAddr, started: &mut usize) -> Node {
    *started += 1;
    Node::of(redis)
        .id(&format!("node-{started}"))
        .at(address)
        .short_lease()
        .set("STREAM__HEARTBEAT", "1s")
        .set("STREAM__RETRY", "300ms")
        .set("STREAM__RETRY_SPREAD", "300ms")
        .set("RETENTION__RULES", &format!("{SHORT} age=1s"))
        .start()
        .await
}
