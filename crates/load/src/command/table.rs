//! `fanfare-load table`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use fanfare_load::table::{self, Row, Settings};

/// What it is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which rows [default: all]
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Short times and small numbers, once, into `target/bench`: to see that everything works
    #[arg(long)]
    quick: bool,
    /// The `fanfare` binary [default: beside this one]
    #[arg(long)]
    fanfare: Option<PathBuf>,
    /// The folder of `performance.md` [default: docs]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure nothing; write the document again from the results that are there
    #[arg(long)]
    render: bool,
}

/// Measures, and writes the document.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let beside = || -> anyhow::Result<PathBuf> {
        let path = std::env::current_exe()?.with_file_name("fanfare");
        anyhow::ensure!(path.exists(), "there is no {}; build it, or say --fanfare", path.display());
        Ok(path)
    };
    let fanfare = match args.fanfare {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None if args.render => PathBuf::new(),
        None => beside()?,
    };
    table::run(&Settings {
        rows: args.rows,
        runs: if args.quick { 1 } else { args.runs.max(1) },
        quick: args.quick,
        fanfare,
        out: args.out.unwrap_or_else(|| if args.quick { "target/bench" } else { "docs" }.into()),
        render: args.render,
    })?;
    Ok(ExitCode::SUCCESS)
}
