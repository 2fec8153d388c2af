//! The whole comparison: every server one after another on one core, every row of the table, and the document.
//!
//! # Layout
//!
//! - `core`, `program`, `environment`: where things run, and what the rows share
//! - `contender`: the servers; `http`: requests that are timed one by one
//! - `row`: what is measured
//! - `results`: what was found; `threshold`: what it is held against
//! - `machine`, `network`: what it was found on; `provenance`: how often, when and of which commit
//! - `document`, `plot`: the document and its plots

mod contender;
mod core;
mod document;
mod environment;
mod http;
mod machine;
mod network;
mod number;
mod plot;
mod program;
mod provenance;
mod results;
mod row;
mod threshold;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::environment::Environment;
use self::machine::Machine;
use self::provenance::Provenance;
use self::results::Results;
pub use self::row::Row;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which rows; empty is all.
    pub rows: Vec<Row>,
    /// How often each is measured.
    pub runs: usize,
    /// Short times and small numbers: to see that everything works.
    pub quick: bool,
    /// The `fanfare` binary.
    pub fanfare: PathBuf,
    /// Where the document and its files are written.
    pub out: PathBuf,
    /// Measure nothing, write the document from the results that are there.
    pub render: bool,
}

/// Measures, and writes `performance.md`, and `results.json` and the plots in a folder `performance` beside it. Rows
/// that are not measured keep the results that are there.
///
/// # Errors
///
/// Fails if a server does not run, a measurement cannot be made, or a file cannot be written.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let dir = settings.out.join("performance");
    fs::create_dir_all(&dir)?;
    let path = dir.join("results.json");
    let mut results = read(&path)?.unwrap_or_default();
    if !settings.render {
        measure(settings, &mut results, &path)?;
    }
    let machine = results.machine.clone().context("there are no results yet")?;
    for (name, text) in plot::all(&results)? {
        fs::write(dir.join(name), text)?;
    }
    fs::write(settings.out.join("performance.md"), document::write(&machine, &results))?;
    print!("{}", document::thresholds(&results));
    eprintln!("written: {}", settings.out.join("performance.md").display());
    Ok(())
}

fn measure(settings: &Settings, results: &mut Results, path: &Path) -> anyhow::Result<()> {
    let environment = Environment::new(settings)?;
    let rows = if settings.rows.is_empty() { Row::every() } else { settings.rows.clone() };
    results.machine = Some(Machine::look()?);
    results.quick = settings.quick;
    for row in rows {
        results.begin(row.name(), Provenance::new()?);
        for run in 0..settings.runs {
            eprintln!("== {} ({} of {})", row.name(), run + 1, settings.runs);
            row.measure(&environment, &mut results.recorder(row.name(), run))
                .with_context(|| format!("row {}", row.name()))?;
            results.end_run(row.name());
            // What was measured is kept, whatever comes next.
            fs::write(path, serde_json::to_string_pretty(results)?)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Option<Results>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).map(Some).with_context(|| format!("{}", path.display()))
}
