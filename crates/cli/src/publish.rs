//! `fanfare publish`: one event, or one for each line of stdin.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use fanfare_protocol::Channel;
use fanfare_protocol::event::{Event, EventType, MAX_DATA_BYTES};
use fanfare_protocol::publish::Publication;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::lines::{Line, Lines};
use crate::problem::Problem;
use crate::server::{Server, ServerArgs};

mod lines;

/// Publish an event.
///
/// Prints the event's position, or `-` for an ephemeral one, which has none.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that people type")]
pub(crate) struct Args {
    /// Where the event goes.
    #[arg(value_parser = Channel::new, required_unless_present = "json_lines")]
    channel: Option<Channel>,
    /// The event's data, verbatim; `-` takes all of stdin.
    #[arg(
        required_unless_present_any = ["lines", "json_lines"],
        conflicts_with_all = ["lines", "json_lines"],
        allow_hyphen_values = true
    )]
    data: Option<String>,
    /// The event's type; without it clients see a plain message.
    #[arg(long = "type", value_name = "TYPE", value_parser = EventType::new)]
    kind: Option<EventType>,
    /// An idempotency key: of several events with one key, the channel keeps only the first.
    #[arg(long, conflicts_with_all = ["lines", "json_lines", "ephemeral"])]
    key: Option<String>,
    /// Send it to whoever listens now, and keep nothing.
    #[arg(long)]
    ephemeral: bool,
    /// Take each line of stdin as the data of one event.
    #[arg(long, conflicts_with = "json_lines")]
    lines: bool,
    /// Take each line of stdin as one event: {"channel","type","data","key","ephemeral"}.
    #[arg(long, conflicts_with_all = ["channel", "kind", "ephemeral"])]
    json_lines: bool,
    /// Print the server's answers as JSON, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What became of one event.
#[derive(Serialize, Deserialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    repeat: bool,
}

/// Runs the command.
///
/// # Errors
///
/// When the server cannot be reached or refuses, or stdin cannot be read.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let server = Server::new(args.server.clone(), None)?;
    if args.json_lines {
        return batches(&server, Line::Publication, args.json).await;
    }
    let channel = args.channel.clone().context("no channel was given")?;
    if args.lines {
        let line = Line::Data { channel, kind: args.kind, ephemeral: args.ephemeral };
        return batches(&server, line, args.json).await;
    }
    let data = match args.data.as_deref() {
        Some("-") | None => stdin()?,
        Some(data) => data.to_owned(),
    };
    let event = Event::new(args.kind, data, MAX_DATA_BYTES)?;
    let publication = Publication { channel, event, key: args.key, ephemeral: args.ephemeral };
    let request = server.request(Method::POST, server.url(&["v1", "publish"]))?.json(&publication.to_json());
    let answer: Answer = server.call(request).await?;
    show(&answer, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Publishes what stdin brings, as it comes: a batch is whatever is there, so that a slow source is not held up
/// and a fast one is not sent line by line.
async fn batches(server: &Server, line: Line, json: bool) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::read(line);
    let mut failed = false;
    while let Some(batch) = lines.batch().await? {
        for (number, error) in &batch.refused {
            eprintln!("fanfare: line {number}: {error}");
            failed = true;
        }
        if batch.items.is_empty() {
            continue;
        }
        let url = server.url(&["v1", "publish"]);
        let request = server.request(Method::POST, url)?.json(&batch.items);
        let answers: Vec<Answer> = server.call(request).await.with_context(|| {
            format!("from line {} on", batch.numbers.first().copied().unwrap_or_default())
        })?;
        ensure!(answers.len() == batch.items.len(), "the server answered for another number of events");
        for (number, answer) in batch.numbers.iter().zip(&answers) {
            if let (Some(error), false) = (&answer.error, json) {
                let error: Problem = serde_json::from_value(error.clone()).context("an odd answer")?;
                eprintln!("fanfare: line {number}: {}", crate::line::visible(&error.to_string()));
            } else {
                show(answer, json)?;
            }
            failed |= answer.error.is_some();
        }
    }
    lines.join().await?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(answer: &Answer, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if json {
        let text = match &answer.error {
            Some(error) => serde_json::json!({ "error": error }).to_string(),
            None => serde_json::to_string(answer)?,
        };
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{}", answer.id.as_deref().unwrap_or("-"))?;
        if answer.repeat {
            eprintln!("fanfare: the key was seen before; this is the first event's position");
        }
    }
    Ok(())
}

/// All of stdin, without the one line ending that shells and `echo` add.
fn stdin() -> anyhow::Result<String> {
    let mut data = String::new();
    // One byte more than allowed shows that there is too much.
    let most = MAX_DATA_BYTES as u64 + 2;
    std::io::stdin().lock().take(most).read_to_string(&mut data).context("stdin cannot be read as UTF-8")?;
    if data.ends_with('\n') {
        data.pop();
        if data.ends_with('\r') {
            data.pop();
        }
    }
    Ok(data)
}
