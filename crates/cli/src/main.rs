//! The `fanfare` binary: arguments, then one command.
//!
//! # Layout
//!
//! - [`dev`]: a node and a page to play with
//! - [`publish`], [`listen`], [`history`], [`sessions`], [`nodes`]: clients of a running cluster
//! - `server`, `problem`: the HTTP calls behind them, and what the server answers when it refuses
//! - `line`, `table`, `failure`: what people read

mod dev;
mod failure;
mod history;
mod line;
mod listen;
mod nodes;
mod problem;
mod publish;
mod server;
mod sessions;
mod table;

use std::process::ExitCode;

use clap::Parser;

/// Server-sent events for any number of clients, from a cluster of stateless nodes.
#[derive(Parser)]
#[command(name = "fanfare", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Dev(dev::Args),
    Publish(publish::Args),
    Listen(listen::Args),
    History(history::Args),
    Sessions(sessions::Args),
    Nodes(nodes::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => dev::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Listen(args) => listen::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Sessions(args) => sessions::run(args).await,
        Command::Nodes(args) => nodes::run(args).await,
    };
    result.unwrap_or_else(|error| failure::report(&error))
}
