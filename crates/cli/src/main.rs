//! The `fanfare` binary: arguments, then one command.
//!
//! # Layout
//!
//! - [`serve`], [`config`]: one node, and its settings
//! - [`health`]: whether the node on this machine lives, or is ready
//! - [`dev`]: a node and a page to play with
//! - `flags`, `log`, `files`: what a node is told, says, and may open
//! - [`publish`], [`listen`], [`history`], [`sessions`], [`nodes`]: clients of a running cluster
//! - [`token`]: makes and checks tokens
//! - `server`, `trust`, `problem`: the HTTP calls behind them, whose certificates are believed, and what the server
//!   answers when it refuses
//! - `line`, `table`, `failure`: what people read

mod config;
mod dev;
mod failure;
mod files;
mod flags;
mod health;
mod history;
mod line;
mod listen;
mod log;
mod nodes;
mod problem;
mod publish;
mod serve;
mod server;
mod sessions;
mod table;
mod token;
mod trust;

use std::process::ExitCode;

use clap::Parser;

/// Server-sent events for any number of clients, from a cluster of stateless nodes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    Publish(publish::Args),
    Listen(listen::Args),
    History(history::Args),
    Sessions(sessions::Args),
    Nodes(nodes::Args),
    Token(token::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Config(args) => config::run(args),
        Command::Health(args) => health::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Listen(args) => listen::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Sessions(args) => sessions::run(args).await,
        Command::Nodes(args) => nodes::run(args).await,
        Command::Token(args) => token::run(args),
    };
    result.unwrap_or_else(|error| failure::report(&error))
}
