//! What nodes ask of Redis, as `MONITOR` reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Redis;

/// A command and its arguments.
pub type Asked = Vec<String>;

/// Records the commands of connections whose name begins like a node's, and what their scripts call. Ends when dropped.
#[derive(Debug)]
pub struct Monitor {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    /// By the address of the connection, what it has asked before it had a name; none once it has a node's.
    nameless: BTreeMap<String, Option<Vec<Asked>>>,
    /// Whether the last command that is no script's was a node's. What a script calls follows its call.
    is_nodes: bool,
    asked: BTreeSet<Asked>,
}

impl Monitor {
    /// Records from now on, until Redis stops.
    ///
    /// # Panics
    ///
    /// When Redis is away.
    pub async fn start(redis: &Redis) -> Self {
        let mut socket = TcpStream::connect(redis.address()).await.expect("Redis is there");
        socket.write_all(b"MONITOR\r\n").await.expect("Redis is there");
        let mut lines = BufReader::new(socket).lines();
        assert_eq!(lines.next_line().await.expect("a reply").as_deref(), Some("+OK"));
        let record = Arc::<Mutex<Record>>::default();
        let shared = Arc::clone(&record);
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                shared.lock().unwrap_or_else(PoisonError::into_inner).read(&line);
            }
        });
        Self { record, task }
    }

    /// Returns each different command so far.
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Record {
    /// Reads a line like `+1700000000.1 [0 127.0.0.1:5000] "GET" "a"`.
    fn read(&mut self, line: &str) {
        let Some((head, rest)) = line.split_once("] ") else { return };
        let Some(client) = head.rsplit(' ').next() else { return };
        let asked = arguments(rest);
        if client == "lua" {
            if self.is_nodes {
                self.asked.insert(asked);
            }
            return;
        }
        let before = self.nameless.entry(client.to_owned()).or_insert_with(|| Some(Vec::new()));
        let is_named = asked.len() == 3 && asked[1] == "SETNAME" && asked[2].starts_with("fanfare-");
        if is_named && let Some(before) = before.take() {
            self.asked.extend(before);
        }
        self.is_nodes = before.is_none();
        match before {
            None => _ = self.asked.insert(asked),
            Some(before) => before.push(asked),
        }
    }
}

/// Parses texts in quotes, as Redis writes them: `"a\"\x00" "b"`.
fn arguments(text: &str) -> Asked {
    let (mut out, mut bytes, mut chars) = (Vec::new(), Vec::new(), text.bytes());
    while chars.by_ref().any(|byte| byte == b'"') {
        bytes.clear();
        while let Some(byte) = chars.next().filter(|&byte| byte != b'"') {
            bytes.push(if byte == b'\\' { escaped(&mut chars) } else { byte });
        }
        out.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    out
}

fn escaped(chars: &mut std::str::Bytes<'_>) -> u8 {
    let mut digit = || char::from(chars.next().unwrap_or_default());
    match digit() {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'a' => 7,
        'b' => 8,
        'x' => u8::from_str_radix(&String::from_iter([digit(), digit()]), 16).unwrap_or_default(),
        other => u8::try_from(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_of_nodes_and_their_scripts_are_told_from_others() {
        let redis = Redis::start().await;
        let monitor = Monitor::start(&redis).await;
        let mut node = redis.connection().await.unwrap();
        let script = "redis.call('SET', KEYS[1], ARGV[1])";
        redis.get::<()>(&["EVAL", script, "1", "other", "x"]).await;
        redis::cmd("CLIENT").arg("SETNAME").arg("fanfare-x").query_async::<()>(&mut node).await.unwrap();
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(1).arg("a \"b\"").arg(&b"\xff\n\\"[..]);
        call.query_async::<()>(&mut node).await.unwrap();
        redis.get::<()>(&["EVAL", script, "1", "other", "x"]).await;
        crate::deadline::becomes("its script's command", true, async || {
            monitor.asked().contains(&vec!["SET".to_owned(), "a \"b\"".into(), "\u{fffd}\n\\".into()])
        })
        .await;
        assert!(!monitor.asked().iter().flatten().any(|text| text == "other"), "{:?}", monitor.asked());
    }
}
