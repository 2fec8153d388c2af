//! `fanfare listen`: follows channels and prints what comes, across reconnects.
//!
//! # Layout
//!
//! - [`event_source`]: the connection that comes back by itself
//! - [`message`]: what a message means, and how it is printed

mod event_source;
mod message;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use fanfare_protocol::{Channel, SessionId};
use reqwest::Url;

use self::event_source::{EventSource, Step};
use self::message::Message;
use crate::line::{self, visible};
use crate::server::{Server, ServerArgs};

/// The exit code when another connection took the session.
const SUPERSEDED: u8 = 3;
/// The exit code when somebody disconnected the session.
const DISCONNECTED: u8 = 4;

/// Follow channels, and print events as they come.
///
/// Reconnects by itself and goes on where it was. Exit codes: 0 after --count events or Ctrl-C, 1 when the
/// server refuses or sent something that cannot be read (which is reported and passed over), 3 when another connection took the session, 4 when somebody disconnected it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Channels to follow, besides the user's own and `broadcast`.
    #[arg(value_parser = Channel::new, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// The session to take; without it, a new one.
    #[arg(long, value_name = "UUID")]
    session: Option<SessionId>,
    /// Begin after this: a cursor, `latest`, `earliest`, or a Unix time in milliseconds.
    #[arg(long, value_name = "WHERE")]
    after: Option<String>,
    /// Begin with the newest N events of each channel.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Who listens, where the server runs with --auth none.
    #[arg(long)]
    user: Option<String>,
    /// How the server sends events; `json` says channel, time and position of each, `raw` is what a plain
    /// `EventSource` sees.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print one JSON object a line, control events as {"control":…} among them.
    #[arg(long)]
    json: bool,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Reconnect when nothing came for so long, not even a heartbeat.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    silence: Duration,
    /// Say nothing about the connection on stderr.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Json,
    Raw,
}

/// Runs the command.
///
/// # Errors
///
/// When the server refuses for good, or stdout cannot be written.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let server = Server::new(args.server.clone(), Some(args.silence))?;
    let url = stream_url(&args, server.url(&["v1", "events"]));
    let mut source = EventSource::new(server, url);
    let mut left = args.count;
    // A message that cannot be read ends nothing, and the exit code tells of it.
    let mut outcome = ExitCode::SUCCESS;
    // One for the whole time: a Ctrl-C that comes while an event is printed is heard too.
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while left != Some(0) {
        // Both branches may be dropped at any point: Ctrl-C ends the command.
        let step = tokio::select! {
            step = source.next() => step?,
            stopped = &mut stop => {
                stopped?;
                farewell(&args, source.cursor());
                return Ok(outcome);
            }
        };
        match step {
            Step::Done => break,
            Step::Lost { why, wait } => note(&args, &format!("{why}; reconnecting in {wait:.1?}")),
            Step::Message(block) => {
                let message = match Message::read(block, args.format == Format::Json) {
                    Ok(message) => message,
                    Err(error) => {
                        eprintln!("fanfare: {}", visible(&format!("{error:#}; it is passed over")));
                        outcome = ExitCode::FAILURE;
                        continue;
                    }
                };
                if let Some(code) = show(&args, &message)? {
                    return Ok(code);
                }
                if let (Message::Event(_), Some(left)) = (&message, left.as_mut()) {
                    *left -= 1;
                }
            }
        }
    }
    Ok(outcome)
}

/// Prints a message; the exit code if it is the last.
fn show(args: &Args, message: &Message) -> anyhow::Result<Option<ExitCode>> {
    if args.json {
        writeln!(std::io::stdout(), "{}", line::json(&message.json())?)?;
    } else if let Message::Event(event) = message {
        writeln!(std::io::stdout(), "{}", event.line())?;
    }
    let Message::Control { kind, data } = message else { return Ok(None) };
    let told = |name: &str| data.get(name).and_then(|value| value.as_str()).unwrap_or("?").to_owned();
    match kind.as_str() {
        "connected" => {
            note(args, &format!("connected to node {}, session {}", told("node"), told("session")));
        }
        // Never quiet: something the reader wanted is not there.
        "gap" => eprintln!(
            "fanfare: {}: events after {} are no longer kept and were missed",
            visible(&told("channel")),
            visible(&told("after"))
        ),
        "expired" => note(args, &format!("the stream expired ({})", told("reason"))),
        "overloaded" => note(args, &format!("the node takes no stream now ({})", told("reason"))),
        "shutdown" => note(args, &format!("node {} shuts down", told("node"))),
        "superseded" => {
            eprintln!("fanfare: another connection took the session");
            return Ok(Some(ExitCode::from(SUPERSEDED)));
        }
        "disconnected" => {
            eprintln!("fanfare: the session was disconnected");
            return Ok(Some(ExitCode::from(DISCONNECTED)));
        }
        // A newer server may say more; it is not ours to stop for.
        other => note(args, &format!("the server says {other}")),
    }
    Ok(None)
}

fn note(args: &Args, text: &str) {
    if !args.quiet {
        eprintln!("fanfare: {}", visible(text));
    }
}

fn farewell(args: &Args, cursor: &str) {
    if !cursor.is_empty() {
        note(args, &format!("stopped; to go on from here: --after {cursor}"));
    }
}

/// The stream's address. The session is the same at each reconnect, so that the server sees one client.
fn stream_url(args: &Args, mut url: Url) -> Url {
    {
        let mut query = url.query_pairs_mut();
        for channel in &args.channels {
            query.append_pair("channel", channel.as_str());
        }
        let session = args.session.unwrap_or_else(SessionId::random);
        query.append_pair("session", &session.to_string());
        if args.format == Format::Json {
            query.append_pair("format", "json");
        }
        if let Some(after) = &args.after {
            query.append_pair("after", after);
        }
        if let Some(last) = args.last {
            query.append_pair("last", &last.to_string());
        }
        if let Some(user) = &args.user {
            query.append_pair("user", user);
        }
    }
    url
}
