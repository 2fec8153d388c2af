//! How a command that failed says so.

use std::io;
use std::process::ExitCode;

/// Says on one line of stderr what went wrong, and answers the exit code: 1.
///
/// Whoever reads our output may stop early, as `head` does. That is no failure and says nothing.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(gone) {
        return ExitCode::SUCCESS;
    }
    eprintln!("fanfare: {}", crate::line::visible(&format!("{error:#}")));
    ExitCode::FAILURE
}
