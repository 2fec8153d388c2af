//! Contracts of subscriber connections.

use fanfare_broker::wire::WireEvent;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_protocol::{Position, SessionId};

use crate::eventually;
use crate::fixture::{Fixture, Heard, channel, event, new, node, publication, publish};
use crate::sessions::user;

pub(crate) async fn what_is_published_after_the_confirmation_is_heard<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let heard = Heard::open(broker, "n").await;
    assert_eq!(heard.events(), [WireEvent::Up]);
    heard.follow(&["a", "b"], 7).await;
    let mut positions = vec![Position::ZERO];
    for n in 0..100 {
        positions.push(publish(broker, "a", &n.to_string()).await);
    }
    let messages = heard.wait_messages("a", 100).await;
    for (n, message) in messages.iter().enumerate() {
        let Frame::Kept(entry) = Frame::parse(Topic::Live, message, 1000).unwrap() else {
            panic!("not kept")
        };
        assert_eq!((entry.previous, entry.position), (positions[n], positions[n + 1]));
        assert_eq!(entry.event, event(&n.to_string()));
    }
    let at = |wanted: fn(&WireEvent) -> bool| heard.events().iter().position(wanted);
    let followed = at(|event| matches!(event, WireEvent::Followed(_)));
    assert!(followed < at(|event| matches!(event, WireEvent::Message(..))));
}

pub(crate) async fn an_ephemeral_event_is_heard<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let heard = Heard::open(broker, "n").await;
    heard.follow(&["a"], 1).await;
    let ephemeral = Publication { ephemeral: true, ..publication("a", "{\"x\":\"\u{1F980}\n\"}") };
    broker.publish(vec![ephemeral.clone()]).await.pop().unwrap().unwrap();
    let message = heard.wait_messages("a", 1).await.pop().unwrap();
    assert_eq!(Frame::parse(Topic::Ephemeral, &message, 1000).unwrap(), Frame::Ephemeral(ephemeral.event));
    assert!(heard.events().contains(&WireEvent::Message(channel("a"), Topic::Ephemeral, message)));
}

pub(crate) async fn a_channel_that_is_not_followed_is_not_heard<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let heard = Heard::open(broker, "n").await;
    heard.follow(&["a", "b"], 1).await;
    heard.unfollow(&["a"]);
    // Confirmed after the unfollow was taken.
    heard.follow(&["c"], 2).await;
    for name in ["a", "d", "b"] {
        publish(broker, name, "1").await;
    }
    heard.wait_messages("b", 1).await;
    assert!(heard.messages("a").is_empty() && heard.messages("d").is_empty());
    heard.follow(&["a"], 3).await;
    publish(broker, "a", "2").await;
    assert_eq!(heard.wait_messages("a", 1).await.len(), 1);
}

pub(crate) async fn following_again_replaces_the_ticket<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let heard = Heard::open(broker, "n").await;
    heard.follow(&["a"], 1).await;
    heard.follow(&["a"], 2).await;
    // At once, so that the subscriber connection may handle them together.
    heard.unfollow(&["a"]);
    heard.ask(&["a"], 3);
    heard.unfollow(&["a"]);
    heard.ask(&["a"], 4);
    heard.confirmed(&["a"], 4).await;
    publish(broker, "a", "1").await;
    assert_eq!(heard.wait_messages("a", 1).await.len(), 1);
    assert_eq!(heard.count(&WireEvent::Followed(vec![(channel("a"), 4)])), 1);
}

pub(crate) async fn a_command_is_heard_by_its_node_only<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let (one, other) = (Heard::open(broker, "n1").await, Heard::open(broker, "n2").await);
    let command = Control::Disconnect { user: user("u"), session: SessionId::random() };
    broker.send(&node("n1"), &command).await.unwrap();
    broker.send(&node("nobody"), &command).await.unwrap();
    eventually("the command arrives", || async { one.controls().len() == 1 }).await;
    assert_eq!(Control::parse(&one.controls()[0]).unwrap(), command);
    broker.send(&node("n2"), &command).await.unwrap();
    eventually("the other arrives", || async { other.controls().len() == 1 }).await;
    assert_eq!(one.controls().len(), 1);
}

pub(crate) async fn every_wire_hears_every_event<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let wires = [Heard::open(broker, "n1").await, Heard::open(broker, "n2").await];
    for wire in &wires {
        wire.follow(&["a"], 1).await;
    }
    let batch = (0..50).map(|n| publication("a", &n.to_string())).collect();
    broker.publish(batch).await;
    let first = wires[0].wait_messages("a", 50).await;
    assert_eq!(wires[1].wait_messages("a", 50).await, first);
}

pub(crate) async fn a_closed_wire_tells_nothing_more<F: Fixture>() {
    let fixture = new::<F>().await;
    let broker = fixture.broker();
    let closed = Heard::open(broker, "n").await;
    closed.follow(&["a"], 1).await;
    let other = Heard::open(broker, "n").await;
    other.follow(&["a"], 1).await;
    let events = closed.close().await;
    assert!(!events.contains(&WireEvent::Down));
    publish(broker, "a", "1").await;
    other.wait_messages("a", 1).await;
}
