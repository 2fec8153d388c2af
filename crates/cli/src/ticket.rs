//! `fanfare ticket`: makes a ticket for one stream.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::tickets::TicketRequest;
use fanfare_protocol::Pattern;

use crate::call::CallArgs;

/// Make a ticket, with which a client that cannot set headers opens one stream: GET /v1/events?ticket=...
///
/// Prints only the ticket, with --json also the times until which it can be used. It has the grants of the token, or those of --subscribe.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pattern of channels that the stream may follow, which the token must grant; may be repeated [default: all that the
    /// token grants].
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    subscribe: Vec<Pattern>,
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { subscribe, call } = args;
    let call = call.open()?;
    let subscribe = Some(subscribe).filter(|patterns| !patterns.is_empty());
    let ticket = call.client.ticket(&TicketRequest { subscribe }).await?;
    call.print(ticket, |out, ticket| writeln!(out, "{}", ticket.ticket))?;
    Ok(ExitCode::SUCCESS)
}
