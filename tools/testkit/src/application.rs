//! The application that a node asks who a client is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An application whose session cookie is `sid`: its value is the user, who may follow `room:*`. It does not know `sid=unknown`,
/// and forbids `sid=banned` everything. Ends when it is dropped.
#[derive(Debug)]
pub struct Application {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether it answers now.
    answers: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Further members of an answer, and the value of `Cache-Control`.
    form: (String, String),
    /// Requests by cookie.
    requests: HashMap<String, usize>,
    /// Heads of all requests, in order.
    heads: Vec<String>,
    now: usize,
    most: usize,
}

impl Application {
    /// Starts one that answers at once.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { state: Mutex::default(), answers: watch::Sender::new(true) });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A node that goes away is no matter.
                tokio::spawn(async move { shared.serve(socket).await.ok() });
            }
        });
        Self { address, shared, task }
    }

    /// The URL that a node asks.
    pub fn url(&self) -> String {
        format!("http://{}/whoami", self.address)
    }

    /// Answers with further members, like `,"expires_in":5`, and this `Cache-Control`.
    pub fn answer(&self, members: &str, cache_control: &str) {
        self.shared.state().form = (members.to_owned(), cache_control.to_owned());
    }

    /// Whether it answers from now on.
    pub fn answers(&self, answers: bool) {
        self.shared.answers.send_replace(answers);
    }

    /// How many requests there were with this cookie.
    pub fn requests_of(&self, cookie: &str) -> usize {
        self.shared.state().requests.get(cookie).copied().unwrap_or_default()
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.shared.state().heads.len()
    }

    /// How many requests there were at once.
    pub fn most_at_once(&self) -> usize {
        self.shared.state().most
    }

    /// The head of the last request.
    ///
    /// # Panics
    ///
    /// When there was none.
    pub fn last_head(&self) -> String {
        self.shared.state().heads.last().expect("a request").clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let cookie =
            head.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or_default().to_owned();
        {
            let mut state = self.state();
            *state.requests.entry(cookie.clone()).or_default() += 1;
            state.heads.push(head);
            state.now += 1;
            state.most = state.most.max(state.now);
        }
        let mut answers = self.answers.subscribe();
        let _ = answers.wait_for(|answers| *answers).await;
        let answer = self.answer_to(&cookie);
        self.state().now -= 1;
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await
    }

    fn answer_to(&self, cookie: &str) -> String {
        let (members, cache) = self.state().form.clone();
        let user = cookie.split("; ").find_map(|pair| pair.strip_prefix("sid=")).unwrap_or("unknown");
        let (status, body) = match user {
            "unknown" => (401, "{}".to_owned()),
            "banned" => (403, "{}".to_owned()),
            user => (200, format!(r#"{{"user":"{user}","grants":{{"subscribe":["room:*"]}}{members}}}"#)),
        };
        let cache = if cache.is_empty() { String::new() } else { format!("Cache-Control: {cache}\r\n") };
        let length = body.len();
        format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{cache}Connection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }
}
