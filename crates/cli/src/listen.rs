//! `fanfare listen`: follows channels and prints their events, across reconnects.
//!
//! # Layout
//!
//! - [`message`]: output of messages

mod message;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use fanfare_client::{EventSource, Message, Step, StreamRequest};
use fanfare_protocol::{Channel, SessionId, sse};

use crate::display::{self, visible};
use crate::exit::hint;
use crate::server::ServerArgs;

/// Exit code if another connection took over the session.
const SUPERSEDED: u8 = 3;
/// Exit code if the session was disconnected by an API call.
const DISCONNECTED: u8 = 4;

/// Follow channels and print their events.
///
/// Reconnects automatically and resumes after the last event. Exit codes: 0 after --count events or Ctrl-C, 1 if the
/// server refuses the stream or sent a malformed message (which is reported and skipped), 3 if another connection
/// took over the session, 4 if the session was disconnected by an API call.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Channels to follow, besides the user's own and `broadcast`.
    #[arg(value_parser = Channel::new, value_name = "CHANNEL")]
    channels: Vec<Channel>,
    /// Session id [default: a new session].
    #[arg(long, value_name = "UUID")]
    session: Option<SessionId>,
    /// Start after this: a cursor, `latest`, `earliest`, or a Unix time in milliseconds.
    #[arg(long, value_name = "WHERE")]
    after: Option<String>,
    /// Start with the newest N events of each channel.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// User id, for servers that run with --auth none.
    #[arg(long)]
    user: Option<String>,
    /// Format in which the server sends events: `json` has the channel, time and position of each event, `raw` is
    /// what a plain `EventSource` receives.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print one JSON object per line; control events are printed as {"control":…}.
    #[arg(long)]
    json: bool,
    /// Exit after N events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Reconnect after this time without data, heartbeats included.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    silence: Duration,
    /// Print nothing about the connection on stderr.
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
/// Fails if the server refuses the stream permanently, or if stdout cannot be written.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.clone().client(Some(args.silence))?;
    let mut source = EventSource::new(client, &request(&args));
    let mut left = args.count;
    // A malformed message does not end the stream, but sets the exit code.
    let mut outcome = ExitCode::SUCCESS;
    // One future for the whole time, so that a Ctrl-C while an event is printed is not lost.
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while left != Some(0) {
        // Both branches may be dropped at any point, since Ctrl-C ends the command.
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
            Step::Lost { why, wait } => {
                note(&args, &format!("{why}{}; reconnecting in {wait:.1?}", hint(&why)));
            }
            Step::Malformed(error) => {
                let error = anyhow::Error::from(error);
                eprintln!("fanfare: {}", visible(&format!("{error:#}; skipped")));
                outcome = ExitCode::FAILURE;
            }
            Step::Message(message) => {
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

/// Prints a message. Returns the exit code if it is the last one.
fn show(args: &Args, message: &Message) -> anyhow::Result<Option<ExitCode>> {
    if args.json {
        writeln!(std::io::stdout(), "{}", display::json(&message::json(message))?)?;
    } else if let Message::Event(event) = message {
        writeln!(std::io::stdout(), "{}", message::line(event))?;
    }
    let Message::Control { kind, data } = message else { return Ok(None) };
    let member = |name: &str| data.get(name).and_then(|value| value.as_str()).unwrap_or("?").to_owned();
    match kind.as_str() {
        "connected" => {
            note(args, &format!("connected to node {}, session {}", member("node"), member("session")));
        }
        // Printed even with --quiet: events are missing.
        "gap" => eprintln!(
            "fanfare: {}: gap: events after {} may be missing",
            visible(&member("channel")),
            visible(&member("after"))
        ),
        "expired" => note(args, &format!("the stream expired ({})", member("reason"))),
        "overloaded" => note(args, &format!("the node refused the stream ({})", member("reason"))),
        "shutdown" => note(args, &format!("node {} is shutting down", member("node"))),
        "superseded" => {
            eprintln!("fanfare: another connection took over the session");
            return Ok(Some(ExitCode::from(SUPERSEDED)));
        }
        "disconnected" => {
            eprintln!("fanfare: the session was disconnected");
            return Ok(Some(ExitCode::from(DISCONNECTED)));
        }
        // A newer server may send further control events.
        other => note(args, &format!("control event {other}")),
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
        note(args, &format!("stopped; to resume: --after {cursor}"));
    }
}

fn request(args: &Args) -> StreamRequest {
    StreamRequest {
        channels: args.channels.clone(),
        session: args.session.unwrap_or_else(SessionId::random),
        after: args.after.clone(),
        last: args.last,
        user: args.user.clone(),
        format: match args.format {
            Format::Json => sse::Format::Json,
            Format::Raw => sse::Format::Raw,
        },
    }
}
