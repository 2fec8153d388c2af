//! The commands that call a server and print its answer.

use std::io::{self, Stdout, Write};

use fanfare_client::ApiClient;
use serde::Serialize;

use crate::display;
use crate::server::ServerArgs;

/// Flags of these commands. Not `Debug`, since they may contain a token.
#[derive(clap::Args)]
pub(crate) struct CallArgs {
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A client of the server, and how its answers are printed.
pub(crate) struct Call {
    /// The client.
    pub(crate) client: ApiClient,
    /// Whether answers are printed as JSON.
    pub(crate) json: bool,
}

impl CallArgs {
    /// Creates the client.
    ///
    /// # Errors
    ///
    /// Fails if there is no certificate to trust.
    pub(crate) fn open(self) -> anyhow::Result<Call> {
        let Self { json, server } = self;
        Ok(Call { client: server.client(None)?, json })
    }
}

impl Call {
    /// Prints an answer as JSON, or as the text that `show` writes.
    ///
    /// # Errors
    ///
    /// Fails if stdout cannot be written to.
    pub(crate) fn print<T: Serialize>(
        &self,
        answer: T,
        show: impl FnOnce(&mut Stdout, T) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = io::stdout();
        if self.json {
            writeln!(out, "{}", display::json(&answer)?)?;
        } else {
            show(&mut out, answer)?;
        }
        Ok(())
    }
}
