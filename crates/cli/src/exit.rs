//! Error output and exit code of a failed command.

use std::io;
use std::process::ExitCode;

use fanfare_client::Error;

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
    let hint = error.downcast_ref().map_or("", hint);
    eprintln!("fanfare: {}", crate::display::visible(&format!("{error:#}{hint}")));
    ExitCode::FAILURE
}

/// Returns what to do about an error of the client; empty if its text says so.
pub(crate) fn hint(error: &Error) -> &'static str {
    match error {
        Error::ConnectionRefused { .. } => " (set the server with --server or FANFARE_SERVER)",
        _ => "",
    }
}
