//! An example publisher: streams a made-up answer, token by token, to each online user, and cancels it when the user has
//! gone offline.
//!
//! It uses plain Redis commands and no Fanfare library.
//!
//! # Layout
//!
//! - [`lifecycle`]: users who come online or go offline
//! - [`answer`]: one user's answer
//! - [`connection`]: connecting to Redis, and the delay before a retry

mod answer;
mod connection;
mod lifecycle;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use clap::Parser;
use redis::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use answer::{Answer, Manner};
use lifecycle::{Event, Lifecycle};

/// Maximum number of events queued for the main loop.
const READ_AHEAD: usize = 64;

/// Streams a made-up answer, token by token, to each user who comes online; cancels it when the user goes offline.
#[derive(Debug, Parser)]
struct Args {
    /// URL of the nodes' Redis.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, default_value = "redis://127.0.0.1:6379")]
    redis: String,
    /// The nodes' setting `redis.prefix`.
    #[arg(long, default_value = "fanfare")]
    prefix: String,
    /// Milliseconds between tokens.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Number of tokens in each answer.
    #[arg(long, default_value_t = 300)]
    tokens: u64,
    /// Maximum number of concurrent answers; further users get none, which is logged.
    #[arg(long, default_value_t = 1000)]
    answers: usize,
}

/// The answers in progress.
struct Desk {
    client: Client,
    manner: Manner,
    most: usize,
    /// Senders by user. Dropping a sender cancels the answer.
    cancels: HashMap<String, oneshot::Sender<()>>,
    /// Owns the tasks of the answers; a task ends soon after its answer is cancelled.
    tasks: JoinSet<()>,
}

impl Desk {
    fn handle(&mut self, event: Event) {
        match event {
            // After Redis has lost its data, users who are still online are reported online again: their answers continue.
            Event::Online { user, .. } if self.cancels.contains_key(&user) => {}
            Event::Online { user, .. } if self.cancels.len() >= self.most => {
                println!("too busy for {user}");
            }
            Event::Online { user, id } => {
                println!("started {user}");
                let answer = Answer::new(self.client.clone(), self.manner.clone(), user.clone(), id);
                let (cancel, cancelled) = oneshot::channel();
                self.cancels.insert(user, cancel);
                self.tasks.spawn(answer.write(cancelled));
            }
            Event::Offline { user } => drop(self.cancels.remove(&user)),
        }
    }

    /// Removes the answers that have ended.
    fn tidy(&mut self) {
        self.cancels.retain(|_, cancel| !cancel.is_closed());
    }

    async fn close(mut self) {
        self.cancels.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let client = Client::open(args.redis.as_str())?;
    let mut desk = Desk {
        client: client.clone(),
        manner: Manner::new(&args.prefix, Duration::from_millis(args.every), args.tokens),
        most: args.answers,
        cancels: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let (sender, mut events) = mpsc::channel(READ_AHEAD);
    let reader = tokio::spawn(Lifecycle::of(client, &args.prefix).read(sender));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => desk.handle(event),
                None => break,
            },
            Some(_) = desk.tasks.join_next() => desk.tidy(),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    desk.close().await;
    reader.abort();
    match reader.await {
        Err(ended) if ended.is_panic() => Err(ended.into()),
        _ => Ok(()),
    }
}
