//! Error output of a failed command.

use std::io;
use std::process::ExitCode;

/// Prints the error on one line of stderr. Returns the exit code 1.
///
/// A closed pipe (`| head`) is not a failure: prints nothing and returns 0.
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
