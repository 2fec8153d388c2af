//! Counts all commands of Redis with `MONITOR`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Commands that clients sent.
    pub(super) sent: u64,
    /// The same by name, in lower case.
    pub(super) names: BTreeMap<String, u64>,
    /// Commands that scripts ran.
    pub(super) within: u64,
}

impl Asked {
    /// Takes a line of `MONITOR`: `+<time> [<db> <who>] "<command>" …`.
    fn take(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once('[') else { return };
        let Some((who, command)) = rest.split_once(']') else { return };
        if who.ends_with("lua") {
            self.within += 1;
        } else {
            self.sent += 1;
            let name = command.split('"').nth(1).unwrap_or_default().to_ascii_lowercase();
            *self.names.entry(name).or_default() += 1;
        }
    }
}

/// Listens until it is finished. It makes Redis slower: nothing is timed meanwhile.
pub(super) struct Monitor {
    thread: JoinHandle<Asked>,
    finish: Arc<AtomicBool>,
}

impl Monitor {
    /// Begins; what is asked from now on is counted.
    pub(super) fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(b"MONITOR\r\n")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut lines = BufReader::with_capacity(1 << 20, socket);
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line)?;
        anyhow::ensure!(line == b"+OK\r\n", "Redis does not let itself be listened to");
        let finish = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&finish);
        let thread = thread::spawn(move || {
            let (mut asked, mut line) = (Asked::default(), Vec::new());
            loop {
                match lines.read_until(b'\n', &mut line) {
                    Ok(0) => return asked,
                    Ok(_) => {
                        asked.take(&String::from_utf8_lossy(&line));
                        line.clear();
                    }
                    // A line that is not complete stays where it is.
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        if finished.load(Ordering::Relaxed) {
                            return asked;
                        }
                    }
                    Err(_) => return asked,
                }
            }
        });
        Ok(Self { thread, finish })
    }

    /// Ends after a moment without commands. Returns the counts.
    pub(super) fn finish(self) -> anyhow::Result<Asked> {
        self.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread that listened to Redis has panicked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_within_scripts_are_told_apart() {
        let mut asked = Asked::default();
        for line in [
            r#"+1339518083.107412 [0 127.0.0.1:60866] "evalsha" "x[lua]" "#,
            r#"+1339518083.107413 [0 lua] "get" "a""#,
            "+OK",
        ] {
            asked.take(line);
        }
        assert_eq!(asked, Asked { sent: 1, within: 1, names: BTreeMap::from([("evalsha".into(), 1)]) });
    }
}
