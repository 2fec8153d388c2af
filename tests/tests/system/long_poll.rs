//! Long polls: the same stream, which ends by itself once the client has an answer.

use std::time::Duration;

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::client::{Client, End, Received, Step};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::http2::Http2;
use fanfare_testkit::ledger::Ledger;
use fanfare_testkit::lifecycle;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::transport::Transport;

const SESSION: &str = "0b6c1d5e-7a3f-4c21-9a55-3f0f5a6c7d11";

/// A request of user 42 that waits so many seconds.
fn poll(request: StreamRequest, seconds: u64) -> StreamRequest {
    request.user("42").session(SESSION).channel("room:1").parameter("wait", &seconds.to_string())
}

/// Reads the rest of an answer, which must end as a whole. Returns its events without control events.
async fn rest(client: &mut Client) -> Vec<Received> {
    let mut events = Vec::new();
    loop {
        match client.step(SOON).await {
            Step::Event(event) => events.extend((!event.is_control()).then_some(event)),
            Step::Ended(end) => {
                assert_eq!(end, End::Clean, "{}", client.story());
                return events;
            }
            Step::Nothing => panic!("the answer does not end\n{}", client.story()),
        }
    }
}

fn data(events: &[Received]) -> Vec<&str> {
    events.iter().map(|event| &*event.data).collect()
}

#[tokio::test]
async fn an_answer_has_all_events_since_the_cursor_and_the_next_goes_on() {
    let certificate = Certificate::default();
    let cluster = Cluster::on(Redis::start().await, 2, |node| node.tls(&certificate)).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let http2 = Http2::tls(&certificate);
    let ways = [Transport::Tls(certificate.clone()), Transport::Http2(http2.clone())];
    for (at, way) in ways.into_iter().enumerate() {
        let channel_of = |request: StreamRequest| poll(request, 50).over(way.clone());
        let mut client = channel_of(cluster.a().stream()).open().await;
        // The answer waits for its first event, and has those that come with it.
        publisher.publish_all("room:1", "x", &["1", "2", "3"]).await;
        assert_eq!(data(&rest(&mut client).await), ["1", "2", "3"], "{at}");
        publisher.publish_all("user:42", "x", &["4"]).await;
        publisher.publish_all("room:1", "x", &["5"]).await;
        // Nothing that came between two polls is lost, on whichever node.
        client.resume(cluster.b()).await;
        let mut got = rest(&mut client).await;
        got.sort_by(|a, b| a.data.cmp(&b.data));
        assert_eq!(data(&got), ["4", "5"], "{at}");
        client.resume(cluster.a()).await;
        publisher.publish("room:1", "x", "6").await;
        assert_eq!(data(&rest(&mut client).await), ["6"], "{at}");
    }
    // Two nodes: the connection outlives its answers.
    assert_eq!(http2.made(), 2);
}

#[tokio::test]
async fn an_answer_without_events_ends_after_the_wait_and_a_user_stays_online() {
    let cluster = Cluster::on(Redis::start().await, 2, |node| node.set("SESSION__GRACE", "15s")).await;
    let mut client = poll(cluster.a().stream(), 1).open().await;
    let begun = std::time::Instant::now();
    assert_eq!(rest(&mut client).await.len(), 0);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    let cursor = client.last_id().to_owned();
    assert!(!cursor.is_empty());
    // What there is, without a wait.
    client.change(|request| request.without("wait").parameter("wait", "0"));
    for turn in 0..6 {
        client.resume(&cluster.nodes[turn % 2]).await;
        assert_eq!(rest(&mut client).await.len(), 0);
    }
    Publisher::on(&cluster.redis).await.publish("room:1", "x", "1").await;
    client.resume(cluster.b()).await;
    assert_eq!(data(&rest(&mut client).await), ["1"]);
    lifecycle::tells(&cluster.redis, "42", &["session.connected a", "user.online"]).await;
}

#[tokio::test]
async fn a_large_answer_ends_before_the_client_has_caught_up() {
    let cluster = Cluster::pair().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = poll(cluster.a().stream(), 0).open().await;
    rest(&mut client).await;
    let text = "x".repeat(16 * 1024);
    let sent: Vec<String> = (0..400).map(|number| format!("{number} {text}")).collect();
    publisher.publish_all("room:1", "x", &sent).await;
    let (mut got, mut answers) = (Vec::new(), Vec::new());
    while got.len() < sent.len() {
        client.resume(cluster.b()).await;
        let answer = rest(&mut client).await;
        answers.push(answer.iter().map(|event| event.data.len()).sum::<usize>());
        got.extend(answer);
    }
    assert_eq!(data(&got), sent);
    // 6.4 MB: a little more than 1 MiB each.
    assert!(answers.iter().all(|bytes| *bytes < 2 * 1024 * 1024), "{answers:?}");
}

#[tokio::test]
async fn streams_and_long_polls_by_turns_on_one_cursor_get_everything_once() {
    let cluster = Cluster::on(Redis::start().await, 3, |node| node).await;
    let (ledger, followed) = (Ledger::default(), ["user:42", "broadcast", "room:1"]);
    let mut account = ledger.account(&followed);
    let mut client = poll(cluster.a().stream(), 1).open().await;
    let mut publishers = Vec::new();
    for _ in followed {
        publishers.push(Publisher::on(&cluster.redis).await);
    }
    let traffic = futures_util::future::join_all(publishers.iter_mut().zip(followed).map(
        async |(publisher, channel)| {
            let mut draw = fastrand::Rng::with_seed(channel.len() as u64);
            for _ in 0..200 {
                publisher.issue(&ledger, channel).await;
                tokio::time::sleep(Duration::from_millis(draw.u64(0..8))).await;
            }
        },
    ));
    let turns = async {
        let mut draw = fastrand::Rng::with_seed(14);
        for _ in 0..40 {
            // An answer is read to its end, or left in the middle; what was read counts.
            let mut left = draw.usize(0..20);
            while left > 0
                && let Step::Event(event) = client.step(Duration::from_millis(150)).await
            {
                account.note(&event);
                left -= 1;
            }
            let polls = draw.bool();
            client.change(|request| {
                let request = request.without("wait");
                if polls { request.parameter("wait", &draw.u64(0..2).to_string()) } else { request }
            });
            client.resume(&cluster.nodes[draw.usize(0..3)]).await;
        }
    };
    tokio::join!(traffic, turns);
    // Nothing is published any more, so one answer has all that is left.
    client.change(|request| request.without("wait").parameter("wait", "0"));
    client.resume(cluster.b()).await;
    account.follow(&mut client, &ledger, SOON).await;
    ledger.judge(&account).assert_clean();
}
