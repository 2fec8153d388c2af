//! `reqwest-eventsource`: reconnects by itself, and gives the error to the program first.

use ::reqwest_eventsource::{Event, EventSource};
use futures_util::StreamExt;

use crate::{Outcome, show};

pub(crate) async fn run(url: &str) -> Outcome {
    let mut events = EventSource::get(url);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Open) => {}
            Ok(Event::Message(message)) => show(&message.event, Some(&message.id), &message.data),
            Err(error) => eprintln!("reconnecting after: {error}"),
        }
    }
    Err("it gave up".into())
}
