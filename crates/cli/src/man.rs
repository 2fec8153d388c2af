//! `fanfare man`: man pages of all commands.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Command;
use clap_mangen::Man;

/// Print the man page of a command, or write those of all commands into a folder.
///
/// `fanfare man serve | man -l -` shows the page of `fanfare serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command, such as `serve` or `dead list` [default: the page of `fanfare` itself].
    command: Vec<String>,
    /// Write all pages into this folder: `fanfare.1`, `fanfare-serve.1` and so on.
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Runs the command. `fanfare` is the whole command line.
///
/// # Errors
///
/// Fails if there is no such command, or if a page cannot be written.
pub(crate) fn run(args: &Args, fanfare: Command) -> anyhow::Result<ExitCode> {
    let mut fanfare = fanfare.disable_help_subcommand(true);
    // Gives each command the names of those above it.
    fanfare.build();
    if let Some(folder) = &args.out {
        let failed = || format!("cannot write man pages into {}", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        write_all(&fanfare, folder).with_context(failed)?;
    } else {
        let mut text = Vec::new();
        page(find(&fanfare, &args.command)?).render(&mut text)?;
        std::io::stdout().write_all(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: &Command) -> Man {
    // A space, because an empty date would be left out, and the version would stand in its place.
    Man::new(command.clone())
        .date(" ")
        .source(concat!("fanfare ", env!("CARGO_PKG_VERSION")))
        .manual("Fanfare")
}

/// Writes the pages of a command and of those below it.
fn write_all(command: &Command, folder: &Path) -> std::io::Result<()> {
    page(command).generate_to(folder)?;
    command.get_subcommands().try_for_each(|inner| write_all(inner, folder))
}

/// Returns a command by its words.
fn find<'a>(fanfare: &'a Command, words: &[String]) -> anyhow::Result<&'a Command> {
    let mut found = fanfare;
    for word in words {
        let Some(inner) = found.find_subcommand(word) else {
            bail!("there is no command `fanfare {}` (`fanfare --help` lists the commands)", words.join(" "));
        };
        found = inner;
    }
    Ok(found)
}
