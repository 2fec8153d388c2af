//! `fanfare stream append`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fanfare_client::finite::{Append, Appended};
use fanfare_client::{ApiClient, Error};
use fanfare_protocol::finite::{End, EndKind, Producer, StreamName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::create::NewArgs;
use super::input::{self, Batch, Input};
use super::patience::Patience;
use super::{ended, exit_code};
use crate::server::ServerArgs;

/// Exit code after Ctrl-C, as of a process that the signal ended.
const INTERRUPTED: u8 = 130;
/// Ctrl-C in a terminal ends both sides of a pipe, so the end of the input may come before the signal by so much.
const SIGNAL_DELAY: Duration = Duration::from_millis(100);

/// Append stdin to a stream as it arrives, and end the stream.
///
/// Creates the stream if there is none. What arrives while a call is on its way is sent with the next one, so the source never waits
/// for a call for each piece. If the server is away, calls are repeated for five minutes, and each counts once.
///
/// The end of stdin ends the stream as complete, an error of stdin as error, Ctrl-C as cancelled; --keep-open leaves it open. Exit
/// codes: 0 if all was appended, 3 or 4 if the stream was meanwhile ended as error or cancelled, 130 after Ctrl-C, 1 otherwise.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the stream.
    #[arg(value_parser = StreamName::new)]
    name: StreamName,
    #[command(flatten)]
    new: NewArgs,
    /// Do not end the stream.
    #[arg(long)]
    keep_open: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if the server cannot be reached or refuses a call, or if stdin cannot be read.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, new, keep_open, server } = args;
    let interrupt = interrupt()?;
    let media_type = new.media_type.clone();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    let producer = Producer { id: format!("fanfare-{:016x}", fastrand::u64(..)), epoch: 0, seq: 0 };
    let client = server.client(None)?;
    let mut sender = Sender { client, name, media_type, is_json, producer, interrupt };
    sender.create(&new).await?;
    let mut input = Input::open(is_json);
    loop {
        let (batch, is_interrupted) = sender.next(&mut input).await;
        let stop = if is_interrupted { Some(Stop::Interrupted) } else { batch.stop.map(Stop::of) };
        let end = stop.as_ref().filter(|_| !keep_open).map(Stop::end);
        if let Some(closed) = sender.send_or_end(&batch.bytes, end.clone(), keep_open).await? {
            eprintln!("fanfare: not all was appended, the stream has ended: {}", ended(&closed));
            let is_complete = closed.kind == EndKind::Complete;
            return Ok(if is_complete { ExitCode::FAILURE } else { exit_code(&closed) });
        }
        match stop {
            None => {}
            Some(Stop::End) => return Ok(ExitCode::SUCCESS),
            Some(Stop::Interrupted) => return Ok(INTERRUPTED.into()),
            Some(Stop::Failed(error)) => return Err(error).context("cannot read stdin"),
        }
    }
}

/// Why no more is appended.
enum Stop {
    End,
    Failed(std::io::Error),
    Interrupted,
}

impl Stop {
    fn of(result: std::io::Result<()>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::End)
    }

    /// Returns how the stream ends.
    fn end(&self) -> End {
        let (kind, reason) = match self {
            Self::End => return End::COMPLETE,
            Self::Failed(_) => (EndKind::Error, "the producer's input failed"),
            Self::Interrupted => (EndKind::Cancelled, "interrupted"),
        };
        End { kind, reason: reason.to_owned() }
    }
}

/// Sends batches, one after the other.
struct Sender {
    client: ApiClient,
    name: StreamName,
    media_type: String,
    is_json: bool,
    /// The numbers of the next batch.
    producer: Producer,
    interrupt: CancellationToken,
}

impl Sender {
    /// Creates the stream, if there is none.
    async fn create(&self, new: &NewArgs) -> Result<(), Error> {
        let mut patience = Patience::new(&self.interrupt);
        loop {
            match self.client.create_stream(&self.name, &new.stream()).await {
                Ok(_) => return Ok(()),
                // With other settings. Whether it can be appended to is seen with the first bytes.
                Err(Error::Problem(problem)) if problem.code == "stream-exists" => return Ok(()),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// Returns what has arrived, and whether the command was interrupted.
    async fn next(&self, input: &mut Input) -> (Batch, bool) {
        let batch = tokio::select! {
            batch = input.next() => batch,
            () = self.interrupt.cancelled() => input.now(),
        };
        if batch.stop.is_some() {
            // It is seen below whether it came.
            let _ = timeout(SIGNAL_DELAY, self.interrupt.cancelled()).await;
        }
        (batch, self.interrupt.is_cancelled())
    }

    /// Sends a batch. If the server refuses it, readers learn that the stream has failed. Returns the end of a stream that had
    /// ended before.
    async fn send_or_end(
        &mut self,
        bytes: &[u8],
        end: Option<End>,
        keep_open: bool,
    ) -> Result<Option<End>, Error> {
        let error = match self.send(bytes, end).await {
            Err(error) => error,
            sent => return sent,
        };
        if let Error::Problem(problem) = &error
            && [400, 413].contains(&problem.status)
            && !keep_open
        {
            let reason = format!("the producer's bytes were refused: {}", problem.code);
            // What is reported is why the bytes were refused.
            let _ = self.send(b"", Some(End { kind: EndKind::Error, reason })).await;
        }
        Err(error)
    }

    async fn send(&mut self, bytes: &[u8], end: Option<End>) -> Result<Option<End>, Error> {
        let bytes = if self.is_json { input::array(bytes) } else { bytes.to_vec() };
        if bytes.is_empty() && end.is_none() {
            return Ok(None);
        }
        let (media_type, producer) = (self.media_type.clone(), Some(self.producer.clone()));
        let append = Append { bytes, media_type, producer, end };
        let mut patience = Patience::new(&self.interrupt);
        loop {
            match self.client.append_stream(&self.name, &append).await {
                Ok(Appended::Done(_)) => {
                    self.producer.seq += 1;
                    return Ok(None);
                }
                Ok(Appended::Closed(end)) => return Ok(Some(end)),
                Err(error) => patience.after(error).await?,
            }
        }
    }
}

/// Returns what is cancelled by Ctrl-C or SIGTERM.
fn interrupt() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signals, token) = (signal(kind).context("cannot listen for signals")?, token.clone());
        tokio::spawn(async move {
            signals.recv().await;
            token.cancel();
        });
    }
    Ok(token)
}
