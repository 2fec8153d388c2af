//! `fanfare history`: the events in a channel's log.

use std::io::Write;
use std::process::ExitCode;

use fanfare_protocol::Channel;

use crate::call::CallArgs;
use crate::display::{moment, visible};
use crate::server::limit;

/// Show the events in a channel's log, oldest first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the channel.
    #[arg(value_parser = Channel::new)]
    channel: Channel,
    /// Start after this: a position, a Unix time in milliseconds, `earliest` or `latest`.
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    after: String,
    /// Maximum number of events.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { channel, mut after, limit: mut left, call } = args;
    let call = call.open()?;
    loop {
        let page = call.client.history(&channel, &after, left).await?;
        if page.gap {
            eprintln!("fanfare: gap: events after {} may be missing", visible(&after));
        }
        left = left.saturating_sub(page.events.len());
        for event in page.events {
            call.print(event, |out, event| {
                let (kind, data) = (visible(&event.kind), visible(&event.data));
                writeln!(out, "{}  {}  {kind}  {data}", moment(event.time), event.id)
            })?;
        }
        if left == 0 || !page.more || page.next == after {
            if page.more && !call.json {
                eprintln!("fanfare: there are more events; continue with --after {}", visible(&page.next));
            }
            return Ok(ExitCode::SUCCESS);
        }
        after = page.next;
    }
}
