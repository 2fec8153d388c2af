//! `fanfare-bench baseline`.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use fanfare_bench::baseline::Baseline;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Listen address; port 0 is any free port
    #[arg(long, default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
}

/// Serves until it is killed.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let baseline =
        Baseline::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on http://{}", baseline.address()?);
    baseline.run()?;
    Ok(ExitCode::SUCCESS)
}
