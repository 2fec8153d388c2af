//! One client of a run: an `EventSource`, and the account of its events.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::board::Board;
use crate::event::{KIND, Numbered};
use crate::event_source::{EventSource, GaveUp, Happening};
use crate::sse::Block;

/// Control events of a client, and the ends of its streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// `gap`: events are no longer in the log.
    pub gaps: u64,
    /// `overloaded`: come back later.
    pub overloaded: u64,
    /// `shutdown`: the node is draining.
    pub shutdowns: u64,
    /// `superseded`: another connection has the session.
    pub superseded: u64,
    /// Blocks that clients parse differently: without data, or without an `id:` although there is a cursor.
    pub misread: u64,
    /// Streams that ended cleanly, with the last chunk.
    pub ended: u64,
    /// Streams that broke.
    pub broken: u64,
    /// Connection attempts without a response.
    pub failed: u64,
}

/// Result of a client.
#[derive(Debug)]
pub struct Life {
    /// Account of its events.
    pub account: Account,
    /// Control events and ends of streams.
    pub told: Told,
    /// Why it gave up, if it did.
    pub gave_up: Option<GaveUp>,
}

/// Records of a running client.
struct Diary {
    board: Arc<Board>,
    account: Account,
    told: Told,
    open: bool,
    has_cursor: bool,
    /// When the last open stream ended.
    ended: Option<Instant>,
}

/// Runs until the client gives up or is stopped.
pub(crate) async fn live(
    mut source: EventSource,
    account: Account,
    board: Arc<Board>,
    after: Duration,
    leave: CancellationToken,
) -> Life {
    let mut diary =
        Diary { board, account, told: Told::default(), open: false, has_cursor: false, ended: None };
    let life = async {
        tokio::time::sleep(after).await;
        source.run(|happening| diary.note(&happening)).await
    };
    let gave_up = leave.run_until_cancelled(life).await;
    if gave_up.is_some() {
        diary.board.gave_up();
    }
    if diary.open {
        diary.board.closed();
    }
    Life { account: diary.account, told: diary.told, gave_up }
}

impl Diary {
    fn note(&mut self, happening: &Happening<'_>) {
        match happening {
            Happening::Connects { again: false } => {}
            Happening::Connects { again: true } => self.board.reconnects(),
            Happening::Block(block) => self.take(block),
            Happening::Ended { clean } => self.end(*clean),
        }
    }

    fn end(&mut self, clean: bool) {
        let was_open = std::mem::take(&mut self.open);
        if was_open {
            self.board.closed();
            self.board.ended(clean);
            self.ended = Some(Instant::now());
        }
        match (was_open, clean) {
            (true, true) => self.told.ended += 1,
            (true, false) => self.told.broken += 1,
            (false, false) => self.told.failed += 1,
            // An `overloaded` event.
            (false, true) => {}
        }
    }

    fn take(&mut self, block: &Block) {
        // Only a client that is turned away before its first stream has no cursor.
        self.has_cursor |= block.has_id || block.kind == "connected";
        if block.data.is_none() || (self.has_cursor && !block.has_id) {
            self.told.misread += 1;
        }
        let told = match block.kind.as_str() {
            // Not a stream yet: the answer of a node that does not want one.
            "overloaded" => {
                self.told.overloaded += 1;
                return;
            }
            "gap" => Some(&mut self.told.gaps),
            "shutdown" => {
                self.board.told_shutdown();
                Some(&mut self.told.shutdowns)
            }
            "superseded" => Some(&mut self.told.superseded),
            _ => None,
        };
        if let Some(told) = told {
            *told += 1;
        }
        if !self.open && block.kind == "connected" {
            self.open = true;
            self.board.opened(self.ended.take().map(|ended| ended.elapsed()));
        }
        if block.kind == KIND
            && let Some(event) = block.data.as_deref().and_then(Numbered::parse)
        {
            let first_time = self.account.take(event.channel, event.number);
            self.board.took(event.sent, first_time);
        }
    }
}
