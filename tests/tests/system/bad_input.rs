//! Bad input over HTTP, intake, the function, control topics, live topics and Redis keys: each a clear error, nothing lost,
//! node alive.
//!
//! # Layout
//!
//! - `publish`, `stream`, `calls`, `token`, `socket`: over HTTP
//! - `intake`, `function`: for publishers who speak Redis
//! - `control`, `live_topic`, `keys`: what others may leave in Redis

mod calls;
mod control;
mod function;
mod intake;
mod keys;
mod live_topic;
mod publish;
mod socket;
mod stream;
mod token;

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::ledger::{Account, Ledger};
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;

/// Where the good events go.
const GOOD: &str = "user:good";

/// Each check returns one line for an error; the errors of a table are reported together.
type Check = Result<(), String>;

/// A node with a client that does nothing wrong, and gets a good event after each bad input.
struct Scene {
    cluster: Cluster,
    publisher: Publisher,
    ledger: Ledger,
    client: Client,
    account: Account,
    wrong: Vec<String>,
    cases: usize,
}

async fn scene() -> Scene {
    scene_with(|node| node).await
}

async fn scene_with(configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Scene {
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let publisher = Publisher::on(&cluster.redis).await;
    let ledger = Ledger::default();
    // Without tokens the parameter names the user, and with them the token.
    let stream = cluster.a().stream();
    let open = cluster.a().api().get("/v1/nodes").await.status == 200;
    let stream = if open { stream.user("good") } else { stream.token(&Token::of("good").sign()) };
    let client = stream.open().await;
    let account = ledger.account(&[GOOD]);
    Scene { cluster, publisher, ledger, client, account, wrong: Vec::new(), cases: 0 }
}

impl Scene {
    /// Notes what is wrong with a case, and makes sure that the node still does its work.
    async fn after(&mut self, case: &str, check: Check) {
        self.cases += 1;
        if let Err(why) = check {
            self.wrong.push(format!("{case}: {why}"));
        }
        self.publisher.issue(&self.ledger, GOOD).await;
        self.account.follow(&mut self.client, &self.ledger, SOON).await;
    }

    /// The end of a table of at least so many cases.
    async fn finish(mut self, cases: usize) {
        assert!(
            self.wrong.is_empty(),
            "{} of {} cases:\n{}",
            self.wrong.len(),
            self.cases,
            self.wrong.join("\n")
        );
        assert!(self.cases >= cases, "{} cases", self.cases);
        self.ledger.judge(&self.account).assert_clean();
        assert!(self.cluster.nodes[0].is_alive());
        self.cluster.a().ready().await;
    }
}
