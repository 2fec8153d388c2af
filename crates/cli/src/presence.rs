//! `fanfare presence`: shows who follows a channel.

use std::io::Write;
use std::process::ExitCode;

use fanfare_api::presence::ChannelPresence;
use fanfare_client::ApiClient;
use fanfare_client::api_client::MAX_PAGE;
use fanfare_protocol::Channel;

use crate::call::CallArgs;
use crate::display::visible;

/// Show how many sessions and users follow a channel.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the channel. A pattern of `session.presence_channels` must match it.
    #[arg(value_parser = Channel::new)]
    channel: Channel,
    /// List all users, too.
    #[arg(long)]
    users: bool,
    #[command(flatten)]
    call: CallArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { channel, users, call } = args;
    let call = call.open()?;
    let found =
        if users { all(&call.client, &channel).await? } else { call.client.presence(&channel).await? };
    call.print(found, |out, found| {
        let ChannelPresence { channel, sessions, users, user_ids, .. } = found;
        writeln!(out, "{}: {}, {}", visible(&channel), count(sessions, "session"), count(users, "user"))?;
        user_ids.into_iter().flatten().try_for_each(|user| writeln!(out, "{}", visible(&user)))
    })?;
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
