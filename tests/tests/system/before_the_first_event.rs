//! A client that has got nothing yet loses nothing.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::ledger::Ledger;
use fanfare_testkit::publisher::Publisher;

#[tokio::test]
async fn a_client_that_never_got_an_event_gets_all_of_them_on_the_other_node() {
    let cluster = Cluster::pair().await;
    let (ledger, channels) = (Ledger::default(), ["user:42", "broadcast", "room:7"]);
    let mut publisher = Publisher::on(&cluster.redis).await;
    // From before the client came: not its business.
    for channel in channels {
        publisher.issue(&ledger, channel).await;
    }
    let mut account = ledger.account(&channels);
    let mut client = cluster.a().stream().user("42").channel("room:7").open().await;
    client.close();
    for channel in channels.iter().cycle().take(20) {
        publisher.issue(&ledger, channel).await;
    }
    client.resume(cluster.b()).await;
    account.follow(&mut client, &ledger, SOON).await;
    // What comes live behind it shows that nothing more was on its way.
    publisher.issue(&ledger, "room:7").await;
    account.follow(&mut client, &ledger, SOON).await;
    ledger.judge(&account).assert_clean();
}

#[tokio::test]
async fn the_same_holds_for_a_channel_that_has_never_had_an_event() {
    let cluster = Cluster::pair().await;
    // Without a user a stream follows one channel only: its cursor has the plain form.
    for user in [None, Some("42")] {
        let ledger = Ledger::default();
        let request = cluster.a().stream();
        let (request, channel) = match user {
            Some(user) => (request.user(user), "user:42"),
            None => (request, "broadcast"),
        };
        let mut account = ledger.account(&[channel]);
        let mut client = request.open().await;
        client.close();
        let mut publisher = Publisher::on(&cluster.redis).await;
        for _ in 0..5 {
            publisher.issue(&ledger, channel).await;
        }
        client.resume(cluster.b()).await;
        account.follow(&mut client, &ledger, SOON).await;
        publisher.issue(&ledger, channel).await;
        account.follow(&mut client, &ledger, SOON).await;
        ledger.judge(&account).assert_clean();
    }
}

#[tokio::test]
async fn a_client_that_asks_for_more_than_what_comes_gets_it() {
    let cluster = Cluster::pair().await;
    let ledger = Ledger::default();
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut positions = Vec::new();
    for _ in 0..6 {
        positions.push(publisher.issue(&ledger, "user:42").await);
    }
    let numbers = async |request: fanfare_testkit::request::StreamRequest, first: u64| {
        let mut client = request.open().await;
        for number in first..=6 {
            client.expect_data(&format!("user:42#{number}")).await;
        }
    };
    let stream = || cluster.b().stream().user("42");
    numbers(stream().after("earliest"), 1).await;
    numbers(stream().parameter("last", "2"), 5).await;
    // A point in time: everything after this millisecond.
    let after = positions.iter().filter(|position| position.ms <= positions[2].ms).count() as u64;
    numbers(stream().after(&positions[2].ms.to_string()), after + 1).await;
    // `Last-Event-ID` wins over `after`.
    let mut client = stream().open().await;
    publisher.issue(&ledger, "user:42").await;
    client.expect_data("user:42#7").await;
    let mut again = stream().after("earliest").header("Last-Event-ID", client.last_id()).open().await;
    publisher.issue(&ledger, "user:42").await;
    again.expect_data("user:42#8").await;
}
