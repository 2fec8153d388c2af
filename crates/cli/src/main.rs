//! The `fanfare` binary: arguments, then one command.
//!
//! # Layout
//!
//! - [`serve`], [`config`]: one node, and its settings
//! - [`health`]: health check of the node on this machine; [`doctor`]: what is wrong around it
//! - [`dev`]: a development node with a demo page
//! - `flags`, `log`, `appended_file`, `rlimit`, `service_manager`: a node's flags, its logs, its limit of open files, and what
//!   systemd is told
//! - [`publish`], [`listen`], [`history`], [`sessions`], [`presence`], [`revoke`], [`nodes`], [`top`], [`dead`]: clients of a running cluster
//! - [`stream`]: finite streams
//! - [`token`], [`key`], [`ticket`]: creates and checks tokens, and makes API keys and tickets
//! - [`completions`], [`man`]: what shells complete, and man pages
//! - `call`, `server`, `tls`: the commands that call a server: their flags and output, and the server's trusted certificates
//! - `display`, `table`, `exit`: output, and the exit code of a failed command

mod appended_file;
mod call;
mod completions;
mod config;
mod dead;
mod dev;
mod display;
mod doctor;
mod exit;
mod flags;
mod health;
mod history;
mod key;
mod listen;
mod log;
mod man;
mod nodes;
mod presence;
mod publish;
mod revoke;
mod rlimit;
mod serve;
mod server;
mod service_manager;
mod sessions;
mod stream;
mod table;
mod ticket;
mod tls;
mod token;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Server-sent events for any number of clients, from a cluster of stateless nodes.
#[derive(Parser)]
#[command(name = "fanfare", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(serve::Args),
    Dev(dev::Args),
    Config(config::Args),
    Health(health::Args),
    Doctor(doctor::Args),
    Publish(publish::Args),
    Listen(listen::Args),
    History(history::Args),
    Stream(stream::Args),
    Sessions(sessions::Args),
    Presence(presence::Args),
    Revoke(revoke::Args),
    Nodes(nodes::Args),
    Top(top::Args),
    Dead(dead::Args),
    Token(token::Args),
    Key(key::Args),
    Ticket(ticket::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Time for threads that block when the command has ended: one that reads a file of a disk that hangs, or asks a name server that
/// does not answer, never keeps the process.
const LAST_READS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("cannot start threads")),
    };
    let result = runtime.block_on(run(command));
    runtime.shutdown_timeout(LAST_READS);
    result.unwrap_or_else(|error| exit::report(&error))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Config(args) => config::run(args),
        Command::Health(args) => health::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Listen(args) => listen::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Stream(args) => stream::run(args).await,
        Command::Revoke(args) => revoke::run(args).await,
        Command::Sessions(args) => sessions::run(args).await,
        Command::Presence(args) => presence::run(args).await,
        Command::Nodes(args) => nodes::run(args).await,
        Command::Top(args) => top::run(args).await,
        Command::Dead(args) => dead::run(args).await,
        Command::Token(args) => token::run(args).await,
        Command::Key(args) => key::run(&args),
        Command::Ticket(args) => ticket::run(args).await,
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}
