//! Output in aligned columns.

use std::io::{self, Write};

use crate::display::visible;

/// Writes rows to stdout under a heading, with their columns aligned.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(crate) fn print<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    write(io::stdout().lock(), heading, rows)
}

/// Writes rows under a heading, with their columns aligned.
///
/// # Errors
///
/// Fails if they cannot be written.
pub(crate) fn write<const N: usize>(
    out: impl Write,
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut out = tabwriter::TabWriter::new(out).padding(3);
    writeln!(out, "{}", heading.join("\t"))?;
    for row in rows {
        let cells = row.each_ref().map(|cell| visible(cell).replace(['\t', '\n'], " "));
        writeln!(out, "{}", cells.join("\t"))?;
    }
    out.flush()
}
