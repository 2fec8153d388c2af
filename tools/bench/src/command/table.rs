//! `fanfare-bench table`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use fanfare_bench::table::{self, Row, Settings};

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benchmarks to run [default: all]
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// Number of runs; figures are their median
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One short and small run, into `target/bench`: checks that everything works
    #[arg(long)]
    quick: bool,
    /// The `fanfare` binary [default: next to this binary]
    #[arg(long)]
    fanfare: Option<PathBuf>,
    /// Directory of `performance.md` [default: docs]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write the recorder again from the stored results, without measuring
    #[arg(long)]
    render: bool,
}

/// Measures, and writes the document.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let beside = || -> anyhow::Result<PathBuf> {
        let path = std::env::current_exe()?.with_file_name("fanfare");
        anyhow::ensure!(path.exists(), "{} does not exist (build it, or use --fanfare)", path.display());
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
