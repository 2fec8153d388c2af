//! `fanfare publish`: publishes one event, or one for each line of stdin.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use fanfare_api::publish::{PublishResult, Published};
use fanfare_client::{ApiClient, Error};
use fanfare_protocol::event::{Event, EventType, MAX_DATA_BYTES};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Except, TraceParent};

use self::lines::{Batch, Line, Lines};
use crate::display;
use crate::server::ServerArgs;

mod lines;

/// Publish an event.
///
/// Prints the event's position, or `-` for an ephemeral event, which has no position.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that people type")]
pub(crate) struct Args {
    /// Channel of the event.
    #[arg(value_parser = Channel::new, required_unless_present = "json_lines")]
    channel: Option<Channel>,
    /// Publish to this channel, too; may be given several times. Each channel has a position of its own.
    #[arg(long, value_name = "CHANNEL", value_parser = Channel::new, conflicts_with = "json_lines")]
    also: Vec<Channel>,
    /// The event's data, verbatim; `-` reads all of stdin.
    #[arg(
        required_unless_present_any = ["lines", "json_lines"],
        conflicts_with_all = ["lines", "json_lines"],
        allow_hyphen_values = true
    )]
    data: Option<String>,
    /// The event's type [default: a plain message].
    #[arg(long = "type", value_name = "TYPE", value_parser = EventType::new)]
    kind: Option<EventType>,
    /// Idempotency key: of several events with the same key, the channel stores only the first.
    #[arg(long, conflicts_with_all = ["lines", "json_lines", "ephemeral"])]
    key: Option<String>,
    /// Deliver the event to current subscribers only; it is not stored.
    #[arg(long)]
    ephemeral: bool,
    /// The session that does not get the event: USER/SESSION, or SESSION of a client without a user.
    #[arg(long, value_name = "SESSION")]
    except: Option<Except>,
    /// Trace that the events belong to (W3C traceparent); a malformed one is ignored.
    #[arg(long, env = "TRACEPARENT", value_name = "TRACE")]
    traceparent: Option<String>,
    /// Publish each line of stdin as the data of one event; an empty line is an event with empty data. A line that
    /// cannot be published is reported with its number, the others are published, and the exit code is 1.
    #[arg(long, conflicts_with = "json_lines")]
    lines: bool,
    /// Publish each line of stdin as one event: {"channel" or "channels", "type", "data",
    /// "key", "ephemeral", "except", "traceparent"}. Blank lines are skipped.
    #[arg(long, conflicts_with_all = ["channel", "kind", "ephemeral", "except"])]
    json_lines: bool,
    /// Print the server's responses as JSON, one per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses the request, or if stdin cannot be read.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = args.traceparent.and_then(|trace| TraceParent::parse(trace.as_bytes()));
    let client = args.server.client(None)?.traced(trace);
    if args.json_lines {
        return batches(&client, Line::Publication, args.json).await;
    }
    let channel = args.channel.clone().context("the channel is missing")?;
    if args.lines {
        let line = Line::Data {
            channel,
            also: args.also,
            kind: args.kind,
            ephemeral: args.ephemeral,
            except: args.except,
        };
        return batches(&client, line, args.json).await;
    }
    let data = match args.data.as_deref() {
        Some("-") | None => stdin()?,
        Some(data) => data.to_owned(),
    };
    let event = Event::new(args.kind, data, MAX_DATA_BYTES)?.except(args.except);
    let publication = Publication { channel, event, key: args.key, ephemeral: args.ephemeral };
    if !args.also.is_empty() {
        let item = publication.to_json_for(&args.also).to_string();
        return show_each(&client.publish_batch(&[item]).await?, args.json);
    }
    show(&client.publish(&publication).await?, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Publishes the lines of stdin. A batch has all lines that are available, so that a slow source is not delayed and a
/// fast one is not sent line by line.
async fn batches(client: &ApiClient, line: Line, json: bool) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::read(line);
    let mut count = Count::default();
    while let Some(Batch { items, numbers, refused }) = lines.batch().await {
        for (number, why) in refused {
            count.refuse(number, &why);
        }
        let mut parts = vec![(items, numbers)];
        while let Some((mut items, mut numbers)) = parts.pop() {
            if items.is_empty() {
                continue;
            }
            match client.publish_batch(&items).await {
                Ok(results) => count.take(&numbers, &results, json)?,
                Err(error) if is_too_large(&error) && items.len() == 1 => {
                    count.refuse(numbers[0], &error.to_string());
                }
                // The batch exceeds the server's limit: split it. The first half is sent first.
                Err(error) if is_too_large(&error) => {
                    let half = items.len() / 2;
                    parts.push((items.split_off(half), numbers.split_off(half)));
                    parts.push((items, numbers));
                }
                Err(error) => {
                    count.report();
                    let lost = lost(&numbers, error.may_be_carried_out());
                    return Err(anyhow::Error::from(error).context(lost));
                }
            }
        }
    }
    count.report();
    lines.join().await?;
    Ok(if count.refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns what became of the lines of a call that failed, and of the later ones.
fn lost(numbers: &[u64], may_be_published: bool) -> String {
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    if may_be_published {
        format!("lines {first} to {last} may be published or not; later lines were not published")
    } else {
        format!("lines from {first} on were not published")
    }
}

fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if problem.status == 413)
}

/// Results of the lines so far.
#[derive(Default)]
struct Count {
    published: u64,
    refused: u64,
}

impl Count {
    fn refuse(&mut self, number: u64, why: &str) {
        self.refused += 1;
        eprintln!("fanfare: line {number}: {}", display::visible(why));
    }

    fn take(&mut self, numbers: &[u64], results: &[PublishResult], json: bool) -> anyhow::Result<()> {
        for (item, (number, result)) in numbers.iter().zip(results).enumerate() {
            match result {
                PublishResult::Published(published) => {
                    self.published += 1;
                    show(published, json)?;
                }
                PublishResult::Each { results } => match each(results, json)? {
                    None => self.published += 1,
                    Some(why) => self.refuse(*number, &why),
                },
                PublishResult::Refused { error } => {
                    // The user knows lines, not the items of a batch.
                    let why = error.to_string().replacen(&format!(": item {item}: "), ": ", 1);
                    self.refuse(*number, &why);
                    if json {
                        writeln!(std::io::stdout(), "{}", display::json(result)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints the number of refused lines, if there are any.
    fn report(&self) {
        let Self { published, refused } = self;
        if *refused > 0 {
            eprintln!("fanfare: {refused} of {} lines were not published", published + refused);
        }
    }
}

/// Shows the results of an event for several channels. Returns why the first failed that did.
fn each(results: &[PublishResult], json: bool) -> anyhow::Result<Option<String>> {
    let mut why = None;
    for result in results {
        match result {
            PublishResult::Published(published) => show(published, json)?,
            other => {
                if let PublishResult::Refused { error } = other {
                    why.get_or_insert_with(|| error.to_string());
                }
                writeln!(std::io::stdout(), "{}", if json { display::json(other)? } else { "-".to_owned() })?;
            }
        }
    }
    Ok(why)
}

fn show_each(results: &[PublishResult], json: bool) -> anyhow::Result<ExitCode> {
    match results {
        [PublishResult::Each { results }] => match each(results, json)? {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => bail!(display::visible(&why).into_owned()),
        },
        [PublishResult::Refused { error }] => bail!(display::visible(&error.to_string()).into_owned()),
        _ => bail!("the server has answered for one channel; it may be of an older version"),
    }
}

fn show(published: &Published, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", display::json(published)?)?;
    } else {
        writeln!(out, "{}", display::visible(published.id.as_deref().unwrap_or("-")))?;
        if published.repeat {
            eprintln!(
                "fanfare: the idempotency key was used before; this is the position of the first event"
            );
        }
    }
    Ok(())
}

/// Reads stdin, without the one line ending that shells and `echo` add.
fn stdin() -> anyhow::Result<String> {
    let mut data = Vec::new();
    // One byte more than the limit shows that the data is too long. A line ending may follow the data.
    let most = MAX_DATA_BYTES as u64 + 3;
    std::io::stdin().lock().take(most).read_to_end(&mut data).context("cannot read stdin")?;
    let mut data = String::from_utf8(data).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("stdin is not UTF-8 at byte {at}; only UTF-8 can be sent as server-sent events")
    })?;
    if data.ends_with('\n') {
        data.pop();
        if data.ends_with('\r') {
            data.pop();
        }
    }
    Ok(data)
}
