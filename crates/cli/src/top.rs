//! `fanfare top`: the figures of all nodes, each second.
//!
//! # Layout
//!
//! - [`figures`]: the newest figures of each node, as a table
//! - [`screen`]: the terminal on which they are drawn

mod figures;
mod screen;

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use fanfare_api::stats::NodeStats;
use fanfare_client::{EventSource, Message, Step, StreamRequest};
use fanfare_protocol::{Channel, SessionId, sse};
use tokio::time::{Instant, interval, sleep_until};

use self::figures::Figures;
use self::screen::Screen;
use crate::display;
use crate::server::ServerArgs;

/// Reconnects after this time without data, heartbeats included.
const SILENCE: Duration = Duration::from_mins(1);
/// How often the screen is drawn.
const REDRAW: Duration = Duration::from_secs(1);
/// How long figures are collected for one table: each node publishes them each second.
const COLLECT: Duration = Duration::from_millis(2500);

/// Show the figures of all nodes, each second.
///
/// `q` or Ctrl-C ends it. If stdout is not a terminal, it prints one table. The server is a node's admin listener, if it has one
/// (`admin.listen`); the token needs `"admin": true`, or the right `look`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one table.
    #[arg(long)]
    once: bool,
    /// Print one JSON object for each node.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server refuses the stream or ends it for good, or if stdout cannot be written.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let request = StreamRequest {
        channels: vec![Channel::stats()],
        session: SessionId::random(),
        after: None,
        last: None,
        user: None,
        format: sse::Format::Json,
    };
    let source = EventSource::new(args.server.client(Some(SILENCE))?, &request);
    if args.once || args.json || !std::io::stdout().is_terminal() {
        return once(source, args.json).await;
    }
    watch(source).await
}

/// Prints the figures that arrive in a few seconds.
async fn once(mut source: EventSource, json: bool) -> anyhow::Result<ExitCode> {
    let mut figures = Figures::default();
    let mut end = None;
    loop {
        let step = {
            let mut step = pin!(source.next());
            match end {
                None => step.await?,
                Some(end) => tokio::select! {
                    step = &mut step => step?,
                    () = sleep_until(end) => break,
                },
            }
        };
        if let Step::Lost { why, .. } = step {
            return Err(why.into());
        }
        if take(step, &mut figures)? == Taken::Connected {
            end = Some(Instant::now() + COLLECT);
        }
    }
    let mut out = std::io::stdout();
    if json {
        for stats in figures.nodes() {
            writeln!(out, "{}", display::json(stats)?)?;
        }
    } else {
        write!(out, "{}", figures.table())?;
    }
    if figures.nodes().next().is_none() {
        bail!("no node has published its figures (nodes of older versions publish none)");
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws the figures until the user ends it.
async fn watch(mut source: EventSource) -> anyhow::Result<ExitCode> {
    let (mut screen, mut keys) = Screen::open()?;
    let mut figures = Figures::default();
    let mut state = "connecting".to_owned();
    let mut ticks = interval(REDRAW);
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        // One future until it is ready: a connection attempt that is dropped begins again.
        let mut step = pin!(source.next());
        let step = loop {
            // The other branches lose nothing: a tick, a signal, and a key in a channel.
            tokio::select! {
                step = &mut step => break step?,
                _ = ticks.tick() => screen.draw(&state, &figures.table())?,
                stopped = &mut stop => {
                    stopped?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some(b'q' | b'Q') = keys.recv() => return Ok(ExitCode::SUCCESS),
            }
        };
        if let Step::Lost { why, wait } = &step {
            state = format!("{why}; reconnecting in {wait:.1?}");
        }
        if take(step, &mut figures)? == Taken::Connected {
            "live; q ends".clone_into(&mut state);
        }
    }
}

/// What a step brought.
#[derive(PartialEq, Eq)]
enum Taken {
    Connected,
    Other,
}

/// Takes what a step has brought.
///
/// # Errors
///
/// Fails if the server ended the stream for good.
fn take(step: Step, figures: &mut Figures) -> anyhow::Result<Taken> {
    match step {
        Step::Message(Message::Event(event))
            if event.channel.as_deref() == Some(Channel::stats().as_str()) =>
        {
            // What is malformed is not from a node.
            if let Ok(stats) = serde_json::from_str::<NodeStats>(&event.data) {
                figures.take(stats);
            }
        }
        Step::Message(Message::Control { kind, .. }) => match kind.as_str() {
            "connected" => return Ok(Taken::Connected),
            "superseded" | "disconnected" => bail!("the server ended the stream ({kind})"),
            _ => {}
        },
        Step::Done => bail!("the server ended the stream"),
        _ => {}
    }
    Ok(Taken::Other)
}
