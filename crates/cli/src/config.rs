//! `fanfare config`: the settings in force, and who said so.

use std::io::Write;
use std::process::ExitCode;

use fanfare_node::config::fault::Faults;
use fanfare_node::config::{Config, Effective};
use serde_json::json;

use crate::flags::Flags;
use crate::{line, table};

/// Show every setting of a node as it is in force, and where its value comes from. Secrets are masked.
///
/// Exits with 2 if a setting is wrong, and says on stderr what is.
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
/// When stdout cannot be written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let reading = Config::read(&args.flags.sources());
    if args.json {
        let one = |Effective { setting, value, origin }: Effective| json!({ "setting": setting, "value": value, "origin": origin.to_string() });
        let settings: Vec<_> = reading.effective.into_iter().map(one).collect();
        writeln!(std::io::stdout(), "{}", line::json(&json!({ "settings": settings }))?)?;
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

/// Says on stderr what is wrong with the settings, and answers the exit code: 2, as for a wrong command line.
pub(crate) fn wrong(faults: &Faults) -> ExitCode {
    eprintln!("fanfare: {faults}");
    ExitCode::from(2)
}
