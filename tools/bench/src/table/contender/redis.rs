//! A Redis of its own, beside the load.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::table::core::Core;
use crate::table::environment::Environment;
use crate::table::program::{Program, free_address, listens};

/// A running Redis that writes nothing to disk.
pub(in crate::table) struct Redis {
    program: Program,
    pub(in crate::table) address: SocketAddr,
}

impl Redis {
    /// Starts one.
    pub(in crate::table) fn start(environment: &Environment) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--dir"]).arg(&environment.dir);
        let program =
            Program::start(command, Core::Load, Signal::SIGKILL, &environment.dir, || listens(address))?;
        Ok(Self { program, address })
    }

    /// Its process.
    pub(in crate::table) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Returns the URL for nodes.
    pub(in crate::table) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Whether a node has brought the function that publishers call.
    pub(in crate::table) fn has_function(&self) -> bool {
        let found = self.connect().and_then(|mut connection| {
            let mut list = redis::cmd("FUNCTION");
            list.arg("LIST").arg("LIBRARYNAME").arg("fanfare");
            Ok(list.query::<Vec<redis::Value>>(&mut connection)?)
        });
        found.is_ok_and(|libraries| !libraries.is_empty())
    }

    /// A connection for what is asked beside the measurement.
    pub(in crate::table) fn connect(&self) -> anyhow::Result<redis::Connection> {
        Ok(redis::Client::open(self.url())?.get_connection()?)
    }
}
