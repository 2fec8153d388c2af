//! The longest line of a stream: Go's `bufio.Scanner` and Python's `asyncio` read lines of 64 KiB by default and give up on a
//! longer one. A client that does comes back to the same event for ever.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::publisher::Publisher;

/// With the line ending.
const LINE: usize = 64 * 1024;

#[tokio::test]
async fn the_largest_event_of_the_default_fits_into_a_line_of_64_kib() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let mut json = cluster.a().stream().user("42").parameter("format", "json").open().await;
    let refused = cluster.a().api().post(&body(LINE)).await.unwrap();
    refused.is_problem(413, "too-large", &["61440"]).unwrap();
    let data = "x".repeat(61_440);
    Publisher::on(&cluster.redis).await.publish("user:42", "big", &data).await;
    assert_eq!(*client.expect("big").await.data, *data);
    let longest = |data: &str| "data: ".len() + data.len() + "\n".len();
    assert!(longest(&data) <= LINE);
    // Nor does an envelope make it too long, of data that needs no escapes.
    let envelope = json.next().await;
    assert!(longest(&envelope.data) <= LINE && envelope.data.len() > data.len());
}

fn body(bytes: usize) -> serde_json::Value {
    serde_json::json!({"channel": "user:42", "data": "x".repeat(bytes)})
}
