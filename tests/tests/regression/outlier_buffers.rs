//! A message of 200 MiB on a channel's topic was no event and was dropped, but the subscriber connection kept its buffer.

use std::time::Duration;

use fanfare_testkit::deadline::until;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::ephemeral_topic;
use fanfare_testkit::redis::Redis;

/// For the allocator to give pages back: it does so some ten seconds after they were freed.
const DECAY: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_memory_of_a_message_that_is_far_too_large_comes_back() {
    let redis = Redis::with_arguments(&["--client-output-buffer-limit", "pubsub 0 0 0"]).await;
    // A busy machine may take long to read it: the connection is not to be given up for that.
    let node = Node::of(&redis).set("REDIS__PROBE_TIMEOUT", "60s").start().await;
    let mut client = node.stream().user("7").open().await;
    let before = node.memory();
    let mut connection = redis.connection().await.unwrap();
    let rubbish = vec![0xff_u8; 100 << 20];
    let receivers: u64 = redis::cmd("PUBLISH")
        .arg(ephemeral_topic("user:7"))
        .arg(rubbish)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(receivers, 1);
    until("it is counted", DECAY, async || {
        let counted = node.metrics().await.sum("fanfare_pubsub_malformed_total", &[]);
        if counted >= 1.0 { Ok(()) } else { Err(format!("{counted} so far")) }
    })
    .await;
    let mut number = 0;
    until("the memory is back", DECAY, async || {
        // Good events go on meanwhile.
        number += 1;
        let data = number.to_string();
        node.api().publish("user:7", "note", &data).await;
        client.expect_data(&data).await;
        let more = node.memory().saturating_sub(before);
        if number > 5 && more < 30 << 20 { Ok(()) } else { Err(format!("{} MiB more", more >> 20)) }
    })
    .await;
}
