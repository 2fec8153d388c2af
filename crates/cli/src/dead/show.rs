//! Lists entries, and shows one.

use std::io::{self, Stdout, Write};
use std::process::ExitCode;

use fanfare_api::dead_letters::DeadLetter;
use fanfare_protocol::Position;

use crate::call::Call;
use crate::display::{self, moment, visible};
use crate::table;

/// Lists up to `left` entries.
pub(super) async fn list(call: &Call, after: Position, mut left: usize) -> anyhow::Result<ExitCode> {
    let (mut after, mut rows) = (after.to_string(), Vec::new());
    loop {
        let page = call.client.dead_letters(&after, left).await?;
        left = left.saturating_sub(page.dead_letters.len());
        for letter in page.dead_letters {
            if call.json {
                writeln!(io::stdout(), "{}", display::json(&letter)?)?;
            } else {
                rows.push(row(letter));
            }
        }
        let is_over = left == 0 || !page.more || page.next == after;
        after = page.next;
        if is_over {
            print(rows, call.json, page.more.then_some(&*after))?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print(rows: Vec<[String; 5]>, json: bool, more: Option<&str>) -> io::Result<()> {
    if json {
        return Ok(());
    }
    if rows.is_empty() {
        return writeln!(io::stdout(), "the dead-letter stream has no entries here");
    }
    table::print(["ID", "SINCE", "CHANNEL", "BYTES", "REASON"], rows)?;
    if let Some(next) = more {
        eprintln!("fanfare: there are more entries; continue with --after {}", visible(next));
    }
    Ok(())
}

fn row(letter: DeadLetter) -> [String; 5] {
    let DeadLetter { id, time, reason, channel, bytes, .. } = letter;
    [id, moment(time), channel, bytes.to_string(), reason]
}

/// Shows one entry with its fields.
pub(super) async fn one(call: &Call, id: Position) -> anyhow::Result<ExitCode> {
    call.print(call.client.dead_letter(id).await?, show)?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut Stdout, letter: DeadLetter) -> io::Result<()> {
    let complete = if letter.complete { "yes" } else { "no: it cannot be requeued" };
    writeln!(out, "id        {}", visible(&letter.id))?;
    writeln!(out, "since     {}", moment(letter.time))?;
    writeln!(out, "entry     {}", visible(&letter.entry))?;
    writeln!(out, "reason    {}", visible(&letter.reason))?;
    writeln!(out, "complete  {complete}")?;
    writeln!(out, "fields")?;
    for field in letter.fields.unwrap_or_default() {
        writeln!(out, "  {}  {}", visible(&field.name), visible(&field.value))?;
    }
    Ok(())
}
