//! `fanfare history`: the events in a channel's log.

use std::io::Write;
use std::process::ExitCode;

use fanfare_protocol::Channel;

use crate::display::{self, moment, visible};
use crate::server::{ServerArgs, limit};

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
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.client(None)?;
    let mut out = std::io::stdout();
    let mut after = args.after;
    let mut left = args.limit;
    loop {
        let page = client.history(&args.channel, &after, left).await?;
        if page.gap {
            eprintln!("fanfare: gap: events after {} may be missing", visible(&after));
        }
        left = left.saturating_sub(page.events.len());
        for event in &page.events {
            if args.json {
                writeln!(out, "{}", display::json(event)?)?;
            } else {
                let (kind, data) = (visible(&event.kind), visible(&event.data));
                writeln!(out, "{}  {}  {kind}  {data}", moment(event.time), event.id)?;
            }
        }
        if left == 0 || !page.more || page.next == after {
            if page.more && !args.json {
                eprintln!("fanfare: there are more events; continue with --after {}", visible(&page.next));
            }
            return Ok(ExitCode::SUCCESS);
        }
        after = page.next;
    }
}
