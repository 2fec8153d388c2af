//! Contracts of subscriber connections.

use fanfare_broker::subscriber::SubscriberEvent;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_protocol::{Position, SessionId};
use fanfare_testkit::deadline::eventually;

use crate::fixture::{Fixture, Subscriber, channel, event, new, node, publication, publish};
use crate::sessions::user;

pub(crate) async fn what_is_published_after_the_confirmation_arrives<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    assert_eq!(subscriber.events(), [SubscriberEvent::Up]);
    subscriber.subscribe(&["a", "b"], 7).await;
    let mut positions = vec![Position::ZERO];
    for n in 0..100 {
        positions.push(publish(broker, "a", &n.to_string()).await);
    }
    let messages = subscriber.wait_messages("a", 100).await;
    for (n, message) in messages.iter().enumerate() {
        let Frame::Kept(entry) = Frame::parse(Topic::Live, message, 1000).unwrap() else {
            panic!("not kept")
        };
        assert_eq!((entry.previous, entry.position), (positions[n], positions[n + 1]));
        assert_eq!(entry.event, event(&n.to_string()));
    }
    let at = |wanted: fn(&SubscriberEvent) -> bool| subscriber.events().iter().position(wanted);
    let subscribed = at(|event| matches!(event, SubscriberEvent::Subscribed(_)));
    assert!(subscribed < at(|event| matches!(event, SubscriberEvent::Message(..))));
}

pub(crate) async fn an_ephemeral_event_arrives<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let ephemeral = Publication { ephemeral: true, ..publication("a", "{\"x\":\"\u{1F980}\n\"}") };
    broker.publish(vec![ephemeral.clone()]).await.pop().unwrap().unwrap();
    let message = subscriber.wait_messages("a", 1).await.pop().unwrap();
    assert_eq!(Frame::parse(Topic::Ephemeral, &message, 1000).unwrap(), Frame::Ephemeral(ephemeral.event));
    assert!(subscriber.events().contains(&SubscriberEvent::Message(channel("a"), Topic::Ephemeral, message)));
}

pub(crate) async fn a_channel_that_is_not_subscribed_has_no_messages<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    subscriber.subscribe(&["a", "b"], 1).await;
    subscriber.unsubscribe(&["a"]);
    // Confirmed after the command was taken.
    subscriber.subscribe(&["c"], 2).await;
    for name in ["a", "d", "b"] {
        publish(broker, name, "1").await;
    }
    subscriber.wait_messages("b", 1).await;
    assert!(subscriber.messages("a").is_empty() && subscriber.messages("d").is_empty());
    subscriber.subscribe(&["a"], 3).await;
    publish(broker, "a", "2").await;
    assert_eq!(subscriber.wait_messages("a", 1).await.len(), 1);
}

pub(crate) async fn subscribing_again_replaces_the_ticket<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscriber = Subscriber::open(broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    subscriber.subscribe(&["a"], 2).await;
    // At once, so that the subscriber connection may handle them together.
    subscriber.unsubscribe(&["a"]);
    subscriber.request(&["a"], 3);
    subscriber.unsubscribe(&["a"]);
    subscriber.request(&["a"], 4);
    subscriber.confirmed(&["a"], 4).await;
    publish(broker, "a", "1").await;
    assert_eq!(subscriber.wait_messages("a", 1).await.len(), 1);
    assert_eq!(subscriber.count(&SubscriberEvent::Subscribed(vec![(channel("a"), 4)])), 1);
}

pub(crate) async fn a_command_arrives_at_its_node_only<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (one, other) = (Subscriber::open(broker, "n1").await, Subscriber::open(broker, "n2").await);
    let command = Control::Disconnect { user: user("u"), session: SessionId::random() };
    broker.send(&node("n1"), &command).await.unwrap();
    broker.send(&node("absent"), &command).await.unwrap();
    eventually("the command arrives", || async { one.controls().len() == 1 }).await;
    assert_eq!(Control::parse(&one.controls()[0]).unwrap(), command);
    broker.send(&node("n2"), &command).await.unwrap();
    eventually("the other arrives", || async { other.controls().len() == 1 }).await;
    assert_eq!(one.controls().len(), 1);
}

pub(crate) async fn every_wire_hears_every_event<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let subscribers = [Subscriber::open(broker, "n1").await, Subscriber::open(broker, "n2").await];
    for subscriber in &subscribers {
        subscriber.subscribe(&["a"], 1).await;
    }
    let batch = (0..50).map(|n| publication("a", &n.to_string())).collect();
    broker.publish(batch).await;
    let first = subscribers[0].wait_messages("a", 50).await;
    assert_eq!(subscribers[1].wait_messages("a", 50).await, first);
}

pub(crate) async fn a_closed_wire_tells_nothing_more<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let closed = Subscriber::open(broker, "n").await;
    closed.subscribe(&["a"], 1).await;
    let other = Subscriber::open(broker, "n").await;
    other.subscribe(&["a"], 1).await;
    let events = closed.close().await;
    assert!(!events.contains(&SubscriberEvent::Down));
    publish(broker, "a", "1").await;
    other.wait_messages("a", 1).await;
}
