//! `fanfare ticket`: makes a ticket for one stream.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::tickets::TicketRequest;
use fanfare_protocol::Pattern;

use crate::display;
use crate::server::ServerArgs;

/// Make a ticket, with which a client that cannot set headers opens one stream: GET /v1/events?ticket=...
///
/// Prints only the ticket. It has the grants of the token, or those of --subscribe.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pattern of channels that the stream may follow, which the token must grant; may be repeated [default: all that the
    /// token grants].
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    subscribe: Vec<Pattern>,
    /// Print JSON, with the times until which the ticket can be used.
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
    let Args { subscribe, json, server } = args;
    let subscribe = Some(subscribe).filter(|patterns| !patterns.is_empty());
    let ticket = server.client(None)?.ticket(&TicketRequest { subscribe }).await?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", display::json(&ticket)?)?;
    } else {
        writeln!(out, "{}", ticket.ticket)?;
    }
    Ok(ExitCode::SUCCESS)
}
