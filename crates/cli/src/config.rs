//! `fanfare config`: the effective settings and their sources, a check of a file, and what describes files.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use fanfare_config::fault::{Fault, Faults};
use fanfare_config::source::Sources;
use fanfare_config::{Config, Effective, Reading, example, schema};
use serde_json::json;

use crate::flags::Flags;
use crate::{display, table};

/// Exit code for invalid settings, as for an invalid command line.
const INVALID: u8 = 2;

/// Show the effective value and the source of every setting of a node. Secrets are masked.
///
/// Exits with 2 if a setting is invalid; all errors are on stderr.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print a TOML file with all settings as comments: defaults, descriptions and environment variables.
    #[arg(long, exclusive = true)]
    example: bool,
    /// Print the JSON Schema of TOML files with settings, for editors.
    #[arg(long, exclusive = true)]
    schema: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Check a TOML file with settings, without starting a node.
///
/// Reads the file and the environment as `fanfare serve --config FILE` does, files with secrets and certificates included. Prints all
/// errors on stderr, each with the line, the value and what is expected, and exits with 2 if there is one.
#[derive(clap::Args)]
struct Check {
    /// TOML file with settings.
    file: PathBuf,
    /// Print the errors as JSON, on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Check(check)) = args.command {
        return check.run();
    }
    if args.example {
        write!(std::io::stdout(), "{}", example::example())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.schema {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&schema::json_schema())?)?;
        return Ok(ExitCode::SUCCESS);
    }
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

impl Check {
    /// Runs the command.
    fn run(self) -> anyhow::Result<ExitCode> {
        let Reading { faults, .. } = Config::read(&Sources::of_process(Some(self.file.clone()), Vec::new()));
        if self.json {
            let one = |Fault { setting, value, origin, wrong, right }: &Fault| json!({ "setting": setting, "value": value, "origin": origin.to_string(), "wrong": wrong, "expected": right });
            let errors: Vec<_> = faults.iter().map(one).collect();
            writeln!(
                std::io::stdout(),
                "{}",
                display::json(&json!({ "valid": errors.is_empty(), "errors": errors }))?
            )?;
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) });
        }
        if !faults.is_empty() {
            return Ok(wrong(&Faults(faults)));
        }
        writeln!(
            std::io::stdout(),
            "{}: all settings are valid",
            display::visible(&self.file.display().to_string())
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the faults of the settings on stderr. Returns the exit code 2, as for an invalid command line.
pub(crate) fn wrong(faults: &Faults) -> ExitCode {
    eprintln!("fanfare: {faults}");
    ExitCode::from(INVALID)
}
