//! A publisher with the right to `PUBLISH` on a channel's live topic could put new clients at a position in the year 5138, where they
//! got nothing for ever; an ACL could not tell that from ephemeral events.

use fanfare_protocol::Position;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::publisher::Publisher;
use redis::aio::MultiplexedConnection;

const CHANNEL: &str = "room:7";

async fn scene() -> (Cluster, Publisher) {
    let cluster = Cluster::pair().await;
    let publisher = Publisher::on(&cluster.redis).await;
    (cluster, publisher)
}

fn next_to(position: Position) -> Position {
    Position::new(position.ms, position.seq + 1)
}

/// What a client was shown since it came, gaps by their name. It may have been shown a forged event that fits, if it
/// was live already when that came.
fn shown(client: &Client) -> Vec<String> {
    let events = client.received().iter().filter(|event| event.kind != "connected" && &*event.data != "fits");
    events.map(|event| if event.is_control() { event.kind.clone() } else { event.data.to_string() }).collect()
}

/// Publishes some events and waits until all of these clients have the last one.
async fn publish(publisher: &mut Publisher, clients: &mut [&mut Client], names: &[&str]) -> Position {
    let mut last = Position::ZERO;
    for name in names {
        last = publisher.publish(CHANNEL, "n", name).await;
    }
    for client in clients {
        client.find(|event| Some(&&*event.data) == names.last()).await;
    }
    last
}

/// A forged event is counted on the first node for one of these reasons, and its log says so.
async fn is_noticed(cluster: &Cluster, reasons: &[&str]) {
    until("it is noticed", SOON, async || {
        let metrics = cluster.a().metrics().await;
        let of =
            |reason: &&str| metrics.sum("fanfare_pubsub_suspect_total", &[&format!("reason=\"{reason}\"")]);
        let counted: f64 = reasons.iter().map(of).sum();
        let is_logged = cluster.a().log().contains("suspect live event");
        if counted >= 1.0 && is_logged {
            Ok(())
        } else {
            Err(format!("{counted} counted for {reasons:?}, {is_logged}"))
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_in_the_far_future_is_shown_to_no_client_and_is_where_none_begins() {
    let (cluster, mut publisher) = scene().await;
    let mut old = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let one = publish(&mut publisher, &mut [&mut old], &["one"]).await;
    for previous in [one.to_string(), "99999999999998-0".to_owned()] {
        let forged = format!("1 99999999999999-0 {previous} n\nforged");
        assert_eq!(publisher.forge(CHANNEL, forged).await.unwrap(), 1);
        is_noticed(&cluster, &["ahead"]).await;
    }
    let mut new = cluster.a().stream().user("2").channel(CHANNEL).open().await;
    let mut other = cluster.b().stream().user("3").channel(CHANNEL).open().await;
    publish(&mut publisher, &mut [&mut old, &mut new, &mut other], &["two", "three", "four"]).await;
    new.close();
    new.resume(cluster.b()).await;
    publish(&mut publisher, &mut [&mut old, &mut new, &mut other], &["five"]).await;
    assert_eq!(shown(&old), ["one", "two", "three", "four", "five"]);
    for client in [&new, &other] {
        assert_eq!(shown(client), ["two", "three", "four", "five"], "{}", client.story());
    }
}

#[tokio::test]
async fn an_event_in_the_middle_of_the_order_costs_no_client_an_event_nor_a_gap() {
    let (cluster, mut publisher) = scene().await;
    let mut live = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let one = publish(&mut publisher, &mut [&mut live], &["one"]).await;
    let forged = format!("1 {} {one} n\nfits", next_to(one));
    publisher.forge(CHANNEL, forged).await.unwrap();
    let mut new = cluster.a().stream().user("2").channel(CHANNEL).open().await;
    publish(&mut publisher, &mut [&mut live, &mut new], &["two", "three"]).await;
    // By a read of the log, if one comes first, or by the next event.
    is_noticed(&cluster, &["log", "chain"]).await;
    for client in [&mut live, &mut new] {
        client.close();
        client.resume(cluster.b()).await;
    }
    publish(&mut publisher, &mut [&mut live, &mut new], &["four"]).await;
    assert_eq!(shown(&live), ["one", "two", "three", "four"], "{}", live.story());
    assert_eq!(shown(&new), ["two", "three", "four"], "{}", new.story());
}

#[tokio::test]
async fn an_event_from_the_past_sends_no_client_what_it_has() {
    let (cluster, mut publisher) = scene().await;
    let mut live = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let one = publish(&mut publisher, &mut [&mut live], &["zero", "one"]).await;
    // The first makes the log look as if it had gone back, and the second says how far.
    publisher.forge(CHANNEL, format!("1 {} {one} n\nfits", next_to(one))).await.unwrap();
    publisher.forge(CHANNEL, "1 1-0 0-0 n\nforged, too").await.unwrap();
    is_noticed(&cluster, &["chain"]).await;
    publish(&mut publisher, &mut [&mut live], &["two", "three"]).await;
    assert_eq!(shown(&live), ["zero", "one", "two", "three"], "{}", live.story());
}

#[tokio::test]
async fn a_flood_of_forged_events_hides_none_that_the_log_has() {
    const REAL: usize = 20;
    let (cluster, mut publisher) = scene().await;
    let mut live = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let one = publish(&mut publisher, &mut [&mut live], &["one"]).await;
    let mut flood = Publisher::on(&cluster.redis).await;
    let names: Vec<String> = (0..REAL).map(|n| n.to_string()).collect();
    let (forging, publishing) = (
        async {
            for n in 0..500_u64 {
                let at = Position::new(one.ms + n, 1 << 40);
                let before =
                    [one, Position::new(at.ms, n), Position::new(1, n)][usize::try_from(n % 3).unwrap()];
                let message = if before < at {
                    format!("1 {at} {before} n\nforged")
                } else {
                    "1 2-0 1-0 n\nforged".into()
                };
                flood.forge(CHANNEL, message).await.unwrap();
            }
        },
        async {
            for name in &names {
                publisher.publish(CHANNEL, "n", name).await;
                live.find(|event| *event.data == **name).await;
            }
        },
    );
    tokio::join!(forging, publishing);
    let real: Vec<String> = shown(&live).into_iter().filter(|data| data.parse::<usize>().is_ok()).collect();
    assert_eq!(real, names, "each once and in order");
    let lines = cluster.a().log().matches("suspect live event").count();
    assert!((1..100).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn an_acl_parts_those_who_send_ephemeral_events_from_those_who_publish() {
    let (cluster, mut publisher) = scene().await;
    let mut client = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let rules = [
        "ACL",
        "SETUSER",
        "typist",
        "on",
        ">pw",
        "resetkeys",
        "resetchannels",
        "&fanfare:*:ephemeral",
        "+publish",
    ];
    cluster.redis.get::<()>(&rules).await;
    let mut typist: MultiplexedConnection = cluster.redis.connection().await.unwrap();
    redis::cmd("AUTH").arg("typist").arg("pw").query_async::<()>(&mut typist).await.unwrap();
    let mut send = async |topic: &str, message: &str| {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(format!("fanfare:{{{CHANNEL}}}:{topic}")).arg(message);
        publish.query_async::<u64>(&mut typist).await.map_err(|error| error.to_string())
    };
    assert_eq!(send("ephemeral", r#"{"type":"typing","data":"…"}"#).await, Ok(1));
    assert_eq!(client.expect("typing").await.data.as_ref(), "…");
    let refused = send("live", "1 99999999999999-0 99999999999998-0 n\nforged").await.unwrap_err();
    assert!(refused.contains("no permissions"), "{refused}");
    // What has the form of a stored event is none on this topic.
    assert_eq!(send("ephemeral", "1 99999999999999-0 99999999999998-0 n\nforged").await, Ok(1));
    publish(&mut publisher, &mut [&mut client], &["one"]).await;
    assert_eq!(shown(&client), ["…", "one"]);
}
