//! A client's process and what it prints.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// How much of its errors is shown, in bytes.
const SHOWN: usize = 2000;

/// A running client program. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    /// Fill both until the process closes them.
    readers: [JoinHandle<()>; 2],
}

impl Program {
    /// Starts a command of [`crate::catalog`].
    ///
    /// # Panics
    ///
    /// When it cannot be run: `tests/clients/build` was not.
    pub(crate) fn start(command: &[String]) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; tests/clients/build makes the programs"));
        let (output, errors) = (Arc::default(), Arc::default());
        let readers = [
            collect(child.stdout.take().expect("stdout is a pipe"), Arc::clone(&output)),
            collect(child.stderr.take().expect("stderr is a pipe"), Arc::clone(&errors)),
        ];
        Self { child, output, errors, readers }
    }

    /// What it has printed so far from a place on, up to the end of the last whole line, and the place behind it.
    pub(crate) fn lines_from(&self, place: usize) -> (Vec<String>, usize) {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = output.iter().rposition(|byte| *byte == b'\n').map_or(place, |end| end + 1);
        let text = String::from_utf8_lossy(&output[place..whole.max(place)]);
        (text.lines().map(ToOwned::to_owned).collect(), whole.max(place))
    }

    /// Everything it has printed so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The end of what it has said on standard error.
    pub(crate) fn errors(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&errors[errors.len().saturating_sub(SHOWN)..]).into_owned()
    }

    /// Its status, once it has ended and all that it printed is here.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.readers.iter().all(JoinHandle::is_finished).then_some(status)
    }

    /// SIGTERM, and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.child.wait().await;
    }
}

fn collect(mut from: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        }
    })
}
