//! `fanfare doctor`: what is wrong around a node, and what to do about it.
//!
//! # Layout
//!
//! - [`finding`]: the result of a check
//! - [`machine`]: open files, the listen backlog, ports
//! - [`redis`]: Redis, its settings, its clock, and the rights of the user
//! - [`stream`]: a stream through the load balancer

mod finding;
mod machine;
mod redis;
mod stream;

use std::io::Write;
use std::process::ExitCode;

use fanfare_config::fault::Faults;
use fanfare_config::{Config, Reading};
use serde_json::json;

use self::finding::{Finding, Outcome};
use crate::flags::Flags;
use crate::server::OptionalServer;
use crate::{config, display, table};

/// Check what a node needs: limits of the machine, ports, Redis, and the proxies in front of it.
///
/// Reads the same settings as `fanfare serve`, on the machine and as the user of the node, and starts no node. With `--server`,
/// opens two streams through that address and times their first bytes and a heartbeat; this takes up to half a minute. Prints a
/// line for each check, and what to do about what is wrong. Exits with 1 if something is wrong, and with 2 if a setting is invalid.
///
/// On Redis, it reads settings and the clock, and tries each command of a node on names that do not exist and on one scratch key.
/// A Redis user that may not read the settings (`CONFIG GET`) leaves their checks `unknown`: run it once as an operator, with
/// another `FANFARE_REDIS__URL`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    server: OptionalServer,
}

/// Runs the command.
///
/// # Errors
///
/// Fails if stdout cannot be written, or if the certificates for `--server` cannot be read.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Reading { config, mut faults, .. } = Config::read(&args.flags.sources());
    // Whether tokens are needed does not matter here.
    faults.retain(|fault| fault.setting != "auth.mode");
    if !faults.is_empty() {
        return Ok(config::wrong(&Faults(faults)));
    }
    let mut findings = machine::check(&config).await;
    findings.extend(redis::check(&config).await);
    findings.extend(stream::check(&config, args.server.given()).await?);
    let is_wrong = findings.iter().any(|finding| finding.outcome == Outcome::Wrong);
    if args.json {
        let list: Vec<_> = findings.iter().map(Finding::json).collect();
        writeln!(std::io::stdout(), "{}", display::json(&json!({ "ok": !is_wrong, "findings": list }))?)?;
    } else {
        table::print(["CHECK", "RESULT", "FOUND"], findings.iter().map(Finding::row))?;
        for finding in findings.iter().filter(|finding| finding.outcome == Outcome::Wrong) {
            let advice = display::visible(&finding.advice).into_owned();
            writeln!(
                std::io::stdout(),
                "\n{}: {}\n    {advice}",
                finding.check,
                display::visible(&finding.found)
            )?;
        }
    }
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
