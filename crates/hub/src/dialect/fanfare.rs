//! Fanfare's own protocol (`docs/protocol.md`): server-sent events, whose control events have the data of
//! `fanfare_api::stream`.

use bytes::Bytes;
use fanfare_api::stream::{Connected, Excepted, Expired, Gap, Overloaded, SessionEnded, Shutdown};
use fanfare_broker::NodeId;
use fanfare_broker::session::CloseReason;
pub(super) use fanfare_protocol::sse::HEARTBEAT;
use fanfare_protocol::sse::{self, Block, Format};
use fanfare_protocol::{Channel, Event, Position, SessionId};
use serde::Serialize;

use super::Greeting;
use crate::retry::RetryPolicy;

pub(super) fn event(
    format: Format,
    channel: &Channel,
    event: &Event,
    position: Option<Position>,
    time: u64,
) -> Bytes {
    sse::frame(format, channel, event, position, time)
}

/// Every block has an `id:`, also blocks that do not change the cursor: for many clients an event without `id:` has the
/// empty id, with which they then reconnect.
pub(super) fn id_line(out: &mut Vec<u8>, write_cursor: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"id: ");
    write_cursor(out);
    out.push(b'\n');
}

pub(super) fn retry_line(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(format!("retry: {ms}\n").as_bytes());
}

pub(super) fn greeting(Greeting { session, node, cursor, retry }: Greeting<'_>) -> Bytes {
    let data = Connected { session: session.to_string(), node: node.to_string(), cursor: cursor.to_owned() };
    control(Block::new().retry(retry), "connected", &data)
}

pub(super) fn gap(channel: &Channel, after: Position) -> Bytes {
    let data = Gap { channel: channel.as_str().to_owned(), after: after.to_string() };
    control(Block::new(), "gap", &data)
}

pub(super) fn excepted() -> Bytes {
    control(Block::new(), "excepted", &Excepted {})
}

pub(super) fn last_block(
    reason: CloseReason,
    (session, node): (SessionId, &NodeId),
    retry: &RetryPolicy,
) -> Option<Bytes> {
    let expired = |retry, limit: &'static str| {
        control(Block::new().retry(retry), "expired", &Expired { reason: limit.into() })
    };
    let session = || SessionEnded { session: session.to_string() };
    Some(match reason {
        CloseReason::Closed
        | CloseReason::WriteTimeout
        | CloseReason::PeerTimeout
        | CloseReason::NodeLost
        // The client sends the next one at once.
        | CloseReason::Polled => return None,
        // Planned, like a drain: there is no failure.
        CloseReason::Idle => expired(retry.planned_ms(), "idle"),
        CloseReason::Age => expired(retry.planned_ms(), "age"),
        // With the same token the client is refused, which ends a native `EventSource` permanently: give it time to get
        // a new token.
        CloseReason::Expired => expired(retry.long_ms(), "token"),
        // The client is refused until it gets another token, or another grant. The refusal says why.
        CloseReason::Revoked => expired(retry.long_ms(), "revoked"),
        CloseReason::Ungranted => expired(retry.long_ms(), "ungranted"),
        CloseReason::Disconnected => control(Block::new(), "disconnected", &session()),
        CloseReason::Superseded => {
            control(Block::new().retry(RetryPolicy::superseded_ms()), "superseded", &session())
        }
        CloseReason::Shutdown => {
            let data = Shutdown { node: node.to_string() };
            control(Block::new().retry(retry.planned_ms()), "shutdown", &data)
        }
    })
}

pub(super) fn refusal(reason: &'static str, cursor: Option<&str>, retry: u64) -> Bytes {
    let block = cursor.map_or_else(Block::new, |cursor| Block::new().id(cursor));
    control(block.retry(retry), "overloaded", &Overloaded { reason: reason.into() })
}

/// Completes the block of a control event.
fn control(block: Block, kind: &str, data: &impl Serialize) -> Bytes {
    // Serializing strings cannot fail.
    block.event(kind).data(&serde_json::to_string(data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::retry::RetrySettings;

    fn text(block: &Bytes) -> &str {
        std::str::from_utf8(block).unwrap()
    }

    #[test]
    fn control_events_have_their_fields_in_order() {
        let (session, node) = (SessionId::random(), NodeId::new("a").unwrap());
        let greeting = greeting(Greeting { session, node: &node, cursor: "5-1", retry: 3000 });
        let wanted = format!(
            "retry: 3000\nevent: connected\ndata: {{\"session\":\"{session}\",\"node\":\"a\",\"cursor\":\"5-1\"}}\n\n"
        );
        assert_eq!(text(&greeting), wanted);
        let gap = gap(&Channel::new("room:7").unwrap(), Position::new(5, 1));
        assert_eq!(text(&gap), "event: gap\ndata: {\"channel\":\"room:7\",\"after\":\"5-1\"}\n\n");
        let refused = refusal("rate", Some("5-1"), 7);
        assert_eq!(text(&refused), "id: 5-1\nretry: 7\nevent: overloaded\ndata: {\"reason\":\"rate\"}\n\n");
    }

    #[test]
    fn a_last_block_says_why_and_when_to_reconnect() {
        let (session, node) = (SessionId::random(), NodeId::new("a").unwrap());
        let retry = RetryPolicy::new(RetrySettings {
            least: Duration::from_secs(1),
            spread: Duration::from_secs(1),
            planned_spread: Duration::ZERO,
        });
        let last = |reason| last_block(reason, (session, &node), &retry);
        let wanted = |reason, wanted: &str| assert_eq!(text(&last(reason).unwrap()), wanted, "{reason:?}");
        wanted(CloseReason::Idle, "retry: 100\nevent: expired\ndata: {\"reason\":\"idle\"}\n\n");
        wanted(CloseReason::Age, "retry: 100\nevent: expired\ndata: {\"reason\":\"age\"}\n\n");
        let expired = last(CloseReason::Expired).unwrap();
        let (retry, rest) = text(&expired).strip_prefix("retry: ").unwrap().split_once('\n').unwrap();
        assert!((2000..=4000).contains(&retry.parse().unwrap()), "time to get a new token: {retry}");
        assert_eq!(rest, "event: expired\ndata: {\"reason\":\"token\"}\n\n");
        for (reason, name) in [(CloseReason::Revoked, "revoked"), (CloseReason::Ungranted, "ungranted")] {
            let (retry, rest) =
                (last(reason).unwrap(), format!("event: expired\ndata: {{\"reason\":\"{name}\"}}\n\n"));
            let (retry, text) = text(&retry).strip_prefix("retry: ").unwrap().split_once('\n').unwrap();
            assert!((2000..=4000).contains(&retry.parse().unwrap()) && text == rest, "{retry} {text}");
        }
        wanted(CloseReason::Shutdown, "retry: 100\nevent: shutdown\ndata: {\"node\":\"a\"}\n\n");
        let ended = format!("data: {{\"session\":\"{session}\"}}\n\n");
        wanted(CloseReason::Disconnected, &format!("event: disconnected\n{ended}"));
        assert!(
            text(&last(CloseReason::Superseded).unwrap()).ends_with(&format!("event: superseded\n{ended}"))
        );
        for broken in [CloseReason::Closed, CloseReason::WriteTimeout, CloseReason::PeerTimeout] {
            assert_eq!(last(broken), None);
        }
    }
}
