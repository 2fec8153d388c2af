//! `fanfare config`: the effective settings and their sources.

use std::io::Write;
use std::process::ExitCode;

use fanfare_config::fault::Faults;
use fanfare_config::{Config, Effective};
use serde_json::json;

use crate::flags::Flags;
use crate::{display, table};

/// Show the effective value and the source of every setting of a node. Secrets are masked.
///
/// Exits with 2 if a setting is invalid; all errors are on stderr.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let reading = Config::read(&args.flags.sources());
    if args.json {
        let one = |Effective { setting, value, origin }: Effective| json!({ "setting": setting, "value": value, "origin": origin.to_string() });
        let settings: Vec<_> = reading.effective.into_iter().map(one).collect();
        writeln!(std::io::stdout(), "{}", display::json(&json!({ "settings": settings }))?)?;
    } else {
        let rows = reading.effective.into_iter().map(|Effective { setting, value, origin }| {
            [setting.to_owned(), value.unwrap_or_else(|| "-".to_owned()), origin.to_string()]
        });
        table::print(["SETTING", "VALUE", "FROM"], rows)?;
    }
    if reading.faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(wrong(&Faults(reading.faults)))
}

/// Prints the faults of the settings on stderr. Returns the exit code 2, as for an invalid command line.
pub(crate) fn wrong(faults: &Faults) -> ExitCode {
    eprintln!("fanfare: {faults}");
    ExitCode::from(2)
}
