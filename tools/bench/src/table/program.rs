//! A server that runs for the table.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::core::Core;

/// How long a server may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program. It ends with this value.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    log: PathBuf,
    /// How it is asked to end: those that have children must end them.
    signal: Signal,
}

impl Program {
    /// Starts it on a core, its output in a file beside its other files, and waits until it is ready.
    pub(super) fn start(
        mut command: Command,
        core: Core,
        signal: Signal,
        dir: &Path,
        is_ready: impl Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
        let log = dir.join(&name).with_extension("log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        core.pin()?;
        let child = command.spawn();
        Core::Load.pin()?;
        let child = child.with_context(|| format!("cannot start {}", name.display()))?;
        let mut program = Self { child, log, signal };
        program.wait_until(is_ready)?;
        Ok(program)
    }

    /// Returns its id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is_ready() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                anyhow::bail!("a server does not begin: {said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = kill(pid, self.signal);
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Returns a free address.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Returns whether the address accepts connections.
pub(super) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Returns whether a stream can be opened there.
pub(super) fn streams(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(answer.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Returns the answer to a request, head and all; empty if there is none.
pub(super) fn get(address: SocketAddr, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().unwrap_or_default()
}
