//! A stream through the load balancer: whether something on the way holds its bytes back.

use std::time::Duration;

use fanfare_client::{ApiClient, Error, StreamProbe};
use fanfare_config::Config;
use tokio::time::{Instant, timeout};

use super::finding::Finding;
use crate::server::ServerArgs;

/// The heartbeat that the streams ask for: the shortest that a node grants by default.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Longest time to the first bytes: a node sends them at once.
const FIRST: Duration = Duration::from_secs(2);
/// Time after which bytes that have not arrived are held back.
const LIMIT: Duration = Duration::from_secs(10);
/// How much later than the heartbeat the next bytes may arrive.
const LATE: Duration = Duration::from_secs(5);

const BUFFERED: &str = "switch buffering off for /v1/events (nginx: proxy_buffering off, and no proxy_ignore_headers \
                       X-Accel-Buffering), and compression by the proxy; for a CDN, bypass it: docs/operations.md, \"Load balancers\"";

/// Opens a stream, and one that accepts compression, through the server, if there is one.
pub(super) async fn check(config: &Config, server: Option<ServerArgs>) -> anyhow::Result<Vec<Finding>> {
    const CHECK: &str = "stream";
    let Some(server) = server else {
        return Ok(vec![Finding::unknown(CHECK, "not opened: set --server to the address that clients use")]);
    };
    let client = server.client(None)?;
    let heartbeat = config.stream.heartbeat_of(Some(HEARTBEAT), None);
    let (plain, compressed) =
        tokio::join!(of(CHECK, &client, heartbeat, false), of("compressed stream", &client, heartbeat, true));
    Ok(vec![plain, compressed])
}

async fn of(check: &'static str, client: &ApiClient, heartbeat: Duration, gzip: bool) -> Finding {
    let begun = Instant::now();
    let mut probe = match timeout(LIMIT, StreamProbe::open(client, HEARTBEAT, gzip)).await {
        Ok(Ok(probe)) => probe,
        Ok(Err(error)) => return refused(check, &error),
        Err(_) => return held_back(check, LIMIT),
    };
    let coding = probe.coding.clone();
    match timeout(LIMIT.saturating_sub(begun.elapsed()), probe.next()).await {
        Ok(Ok(Some(_))) => {}
        Ok(Ok(None)) => return ended(check),
        Ok(Err(error)) => return refused(check, &error),
        Err(_) => return held_back(check, LIMIT),
    }
    let first = begun.elapsed();
    if first > FIRST {
        return held_back(check, first);
    }
    if !gzip && let Some(coding) = coding {
        let found = format!("is compressed ({coding}), though the client did not accept that");
        return Finding::wrong(check, found, BUFFERED);
    }
    match timeout(heartbeat + LATE, probe.next()).await {
        Ok(Ok(Some(_))) => {
            let coded = coding.map_or("not compressed".to_owned(), |coding| format!("compressed ({coding})"));
            let next = begun.elapsed();
            let found = format!(
                "{:?}, {coded}: first bytes after {first:.1?}, a heartbeat after {next:.1?}",
                probe.version
            );
            Finding::ok(check, found)
        }
        Ok(Ok(None)) => ended(check),
        Ok(Err(error)) => refused(check, &error),
        Err(_) => {
            let found = format!("no heartbeat within {:?}", heartbeat + LATE);
            Finding::wrong(check, found, BUFFERED)
        }
    }
}

fn held_back(check: &'static str, time: Duration) -> Finding {
    Finding::wrong(
        check,
        format!("the first bytes had not arrived after {time:.1?}: something holds them back"),
        BUFFERED,
    )
}

fn ended(check: &'static str) -> Finding {
    let advice = "raise the read timeout of the proxy above stream.heartbeat (docs/operations.md, \"Load balancers\"), or see \
                 the node's log";
    Finding::wrong(check, "the stream ended before a heartbeat", advice)
}

fn refused(check: &'static str, error: &Error) -> Finding {
    let advice = match error {
        Error::Problem(problem) if problem.status == 401 => {
            "set a token: --token-file, or FANFARE_TOKEN (`fanfare token` makes one)"
        }
        Error::Problem(_) => "see GET /v1/problems of the server, and the node's log",
        Error::NotAStream(_) => {
            "the address is not that of a load balancer of Fanfare, or it does not pass /v1/events"
        }
        _ => "check the address, the certificate (--ca), and that the load balancer runs and reaches a node",
    };
    Finding::wrong(check, error.to_string(), advice)
}
