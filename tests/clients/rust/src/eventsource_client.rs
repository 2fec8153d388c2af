//! `eventsource-client`: reconnects by itself, and gives the error to the program first.

use std::time::Duration;

use ::eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

use crate::{Outcome, show};

pub(crate) async fn run(url: &str) -> Outcome {
    // Three heartbeats (stream.heartbeat, 15s).
    let transport = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(45))
        .build_http()?;
    let reconnect = ReconnectOptions::reconnect(true).delay_max(Duration::from_secs(2)).build();
    let client = ClientBuilder::for_url(url)?.reconnect(reconnect).build_with_transport(transport);
    let mut stream = client.stream();
    while let Some(item) = stream.next().await {
        match item {
            Ok(SSE::Event(event)) => show(&event.event_type, event.id.as_deref(), &event.data),
            Ok(SSE::Connected(_) | SSE::Comment(_)) => {}
            Err(error) => eprintln!("reconnecting after: {error:?}"),
        }
    }
    Err("it gave up".into())
}
