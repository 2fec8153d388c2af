//! The time from a revocation to the end of the streams of the revoked token, on three nodes with one Redis.

use std::time::{Duration, Instant};

use anyhow::Context;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::json;
use tokio::task::JoinSet;

const NODES: usize = 3;
/// The user of all streams.
const USER: &str = "42";

/// Delays of the streams of one revocation.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// From just before the call until its response.
    pub response: Duration,
    /// From just before the call until half of the streams have ended.
    pub median: Duration,
    /// From just before the call until all streams have ended.
    pub longest: Duration,
}

/// Starts three nodes and a Redis, opens streams on all of them, and revokes their token; `rounds` times.
///
/// # Errors
///
/// Fails if a call is refused.
///
/// # Panics
///
/// When a process does not start, or a stream does not open or does not end as revoked.
pub async fn measure(streams: usize, rounds: usize) -> anyhow::Result<Vec<Delays>> {
    let limit = streams.to_string();
    let cluster = Cluster::on(Redis::start().await, NODES, |node| {
        let node = node.auth("jwt").set("LIMITS__SESSIONS_PER_USER", &limit).set("LOG__LEVEL", "warn");
        let rates = ["LIMITS__USER__CONNECTS_PER_SECOND", "LIMITS__ADDRESS__CONNECTS_PER_SECOND"];
        rates.into_iter().fold(node, |node, rate| node.set(rate, "0"))
    })
    .await;
    let mut all = Vec::new();
    for round in 0..rounds {
        all.push(revoke(&cluster, streams, &format!("round-{round}")).await?);
    }
    Ok(all)
}

async fn revoke(cluster: &Cluster, streams: usize, id: &str) -> anyhow::Result<Delays> {
    let token = Token::of(USER).claim("jti", id).sign();
    let mut ends = JoinSet::new();
    for at in 0..streams {
        let stream = cluster.nodes[at % NODES].stream().token(&token).open().await;
        ends.spawn(end(stream));
    }
    let api = cluster.a().api().with_token(&Token::of("root").admin().sign());
    let body = json!({ "jti": id }).to_string();
    let begun = Instant::now();
    let answer = api.call("POST", "/v1/revocations", &[("content-type", "application/json")], body).await;
    let response = begun.elapsed();
    let answer = answer.context("the revocation")?;
    anyhow::ensure!(answer.status == 200, "the revocation is refused: {}", answer.text);
    let mut delays: Vec<Duration> =
        ends.join_all().await.into_iter().map(|end| end.duration_since(begun)).collect();
    delays.sort_unstable();
    let longest = delays.last().copied().context("no streams")?;
    Ok(Delays { response, median: delays[delays.len() / 2], longest })
}

/// Waits for the end of a stream, and returns when it came.
async fn end(mut stream: Client) -> Instant {
    let last = stream.expect("expired").await;
    let end = Instant::now();
    assert_eq!(last.json()["reason"], "revoked");
    end
}
