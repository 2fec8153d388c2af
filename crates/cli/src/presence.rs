//! `fanfare presence`: shows who follows a channel.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::presence::ChannelPresence;
use fanfare_client::ApiClient;
use fanfare_client::api_client::MAX_PAGE;
use fanfare_protocol::Channel;

use crate::display::{self, visible};
use crate::server::ServerArgs;

/// Show how many sessions and users follow a channel.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the channel. A pattern of `session.presence_channels` must match it.
    #[arg(value_parser = Channel::new)]
    channel: Channel,
    /// List all users, too.
    #[arg(long)]
    users: bool,
    /// Print JSON.
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
    let found =
        if args.users { all(&client, &args.channel).await? } else { client.presence(&args.channel).await? };
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", display::json(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ChannelPresence { channel, sessions, users, user_ids, .. } = found;
    writeln!(out, "{}: {}, {}", visible(&channel), count(sessions, "session"), count(users, "user"))?;
    for user in user_ids.into_iter().flatten() {
        writeln!(out, "{}", visible(&user))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the presence with all users, page by page. Users who come or go meanwhile may be missing.
async fn all(client: &ApiClient, channel: &Channel) -> anyhow::Result<ChannelPresence> {
    let mut users = Vec::new();
    let mut after = None;
    loop {
        let page = client.present_users(channel, after.as_deref(), MAX_PAGE).await?;
        users.extend(page.user_ids.unwrap_or_default());
        if page.next.is_none() {
            return Ok(ChannelPresence { user_ids: Some(users), next: None, ..page });
        }
        after = page.next;
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
