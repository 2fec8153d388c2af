//! `fanfare completions`: what shells complete.

use std::io::Write;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Print a script with which a shell completes the commands and flags of `fanfare`.
///
/// bash: `fanfare completions bash > ~/.local/share/bash-completion/completions/fanfare`
///
/// zsh: `fanfare completions zsh > FOLDER/_fanfare`, with a folder in `fpath`
///
/// fish: `fanfare completions fish > ~/.config/fish/completions/fanfare.fish`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the command. `fanfare` is the whole command line.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(crate) fn run(args: &Args, mut fanfare: Command) -> anyhow::Result<ExitCode> {
    // The generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut fanfare, "fanfare", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
