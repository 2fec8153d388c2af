//! A checker that never fails proves nothing: here a server does everything that a cluster must not do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_soak::control::Control;
use fanfare_soak::effect::Effect;
use fanfare_soak::report::Report;
use fanfare_soak::scenario::Step;
use fanfare_soak::soak::{Settings, Soak};
use fanfare_testkit::received::Faults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;

/// What the server does wrong, once, at the third event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    Nothing,
    Loses,
    Doubles,
    Swaps,
    TellsAGap,
    /// Ends a stream and answers the next with a status.
    Answers(&'static str),
    /// Accepts an event and closes the connection instead of saying so.
    HidesAnAnswer,
    /// Never accepts the third event.
    Refuses,
}

/// A server with what it does wrong.
struct Server {
    mischief: Mischief,
    /// By the channel that each client follows alone.
    streams: HashMap<String, UnboundedSender<String>>,
    events: usize,
    /// A swapped event that waits for the next.
    held: Option<(String, String)>,
    /// Whether the next stream is answered as [`Mischief::Answers`] says.
    turns_away: bool,
    /// Channels and keys that were taken.
    keys: Vec<String>,
}

impl Server {
    fn deliver(&self, channel: &str, text: &str) {
        // A client that was turned away has none.
        if let Some(stream) = self.streams.get(channel) {
            let _ = stream.send(format!("id: 1-1\nevent: numbered\ndata: {text}\n\n"));
        }
    }

    /// Takes an event; false if the publisher gets no answer.
    fn publish(&mut self, channel: &str, text: &str, key: &str) -> bool {
        let key = format!("{channel} {key}");
        if self.keys.contains(&key) {
            return true;
        }
        self.keys.push(key);
        if self.held.as_ref().is_some_and(|(held, _)| held == channel) {
            self.deliver(channel, text);
            let (channel, text) = self.held.take().unwrap();
            self.deliver(&channel, &text);
            return true;
        }
        self.events += 1;
        match self.mischief {
            _ if self.events != 3 => self.deliver(channel, text),
            Mischief::Nothing => self.deliver(channel, text),
            Mischief::Loses => {}
            Mischief::Doubles => (0..2).for_each(|_| self.deliver(channel, text)),
            Mischief::Swaps => self.held = Some((channel.to_owned(), text.to_owned())),
            Mischief::TellsAGap => {
                let _ = self.streams[channel].send("id: 1-1\nevent: gap\ndata: {}\n\n".to_owned());
                self.deliver(channel, text);
            }
            Mischief::Answers(_) => {
                self.turns_away = true;
                self.streams.remove(channel);
            }
            Mischief::HidesAnAnswer => {
                self.deliver(channel, text);
                return false;
            }
            Mischief::Refuses => {
                self.keys.pop();
                self.events -= 1;
                return false;
            }
        }
        true
    }
}

async fn accept(listener: TcpListener, server: Arc<Mutex<Server>>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, Arc::clone(&server)));
    }
}

/// Serves one connection until it does something wrong.
async fn serve(mut socket: TcpStream, server: Arc<Mutex<Server>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        if let Some(path) = head.strip_prefix("GET ") {
            return stream(socket, path, &server).await;
        }
        let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let length: usize = length.parse().unwrap();
        while bytes.len() < length {
            socket.read_buf(&mut bytes).await?;
        }
        let body: serde_json::Value =
            serde_json::from_slice(&bytes.drain(..length).collect::<Vec<_>>()).unwrap();
        let field = |name: &str| body[name].as_str().unwrap().to_owned();
        let counts = server.lock().unwrap().publish(&field("channel"), &field("data"), &field("key"));
        if !counts {
            return Ok(());
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await?;
    }
}

async fn stream(mut socket: TcpStream, path: &str, server: &Mutex<Server>) -> std::io::Result<()> {
    let user = path.split("user=").nth(1).unwrap().split('&').next().unwrap();
    let (answer, events) = open(&format!("user:{user}"), server);
    socket.write_all(answer.as_bytes()).await?;
    let Some(mut events) = events else { return Ok(()) };
    while let Some(event) = events.recv().await {
        socket.write_all(event.as_bytes()).await?;
    }
    Ok(())
}

fn open(channel: &str, server: &Mutex<Server>) -> (String, Option<UnboundedReceiver<String>>) {
    let mut server = server.lock().unwrap();
    if let Mischief::Answers(answer) = server.mischief
        && server.turns_away
    {
        return (answer.to_owned(), None);
    }
    let (sender, events) = unbounded_channel();
    server.streams.insert(channel.to_owned(), sender);
    let first = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1-1\nretry: 10\nevent: connected\ndata: {}\n\n";
    (first.to_owned(), Some(events))
}

/// Returns a run against such a server.
async fn run(mischief: Mischief) -> Report {
    run_and(mischief, &[]).await
}

/// The same with more steps behind it.
async fn run_and(mischief: Mischief, steps: &[Step]) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server {
        mischief,
        streams: HashMap::new(),
        events: 0,
        held: None,
        turns_away: false,
        keys: Vec::new(),
    };
    let mut task = JoinSet::new();
    task.spawn(accept(listener, Arc::new(Mutex::new(server))));
    let settings = Settings {
        name: format!("{mischief:?}"),
        url,
        redis: None,
        prefix: "fanfare".into(),
        clients: CLIENTS,
        ramp: 1000.0,
        shared: 0,
        rate: 100.0,
        size: 40,
        mix: "http".parse().unwrap(),
        settle: Duration::from_secs(1),
        progress: None,
        online: true,
    };
    let mut soak = Soak::start(settings).await.unwrap();
    let mut control = Control { command: None, nodes: Vec::new() };
    soak.step(&Step::Wait(Duration::from_millis(300)), &mut control).await.unwrap();
    for step in steps {
        soak.step(step, &mut control).await.unwrap();
    }
    soak.finish().await.unwrap()
}

#[tokio::test]
async fn a_server_that_does_everything_right_passes() {
    let report = run(Mischief::Nothing).await;
    assert!(report.passed && report.published > 10, "{}", report.table());
    assert_eq!((report.due, report.received), (report.published, report.published));
}

#[tokio::test]
async fn whatever_is_done_wrong_is_found_and_named() {
    let clean = Faults::default();
    for (mischief, faults, gaps) in [
        (Mischief::Loses, Faults { lost: 1, ..clean }, 0),
        (Mischief::Doubles, Faults { duplicated: 1, ..clean }, 0),
        (Mischief::Swaps, Faults { out_of_order: 1, ..clean }, 0),
        (Mischief::TellsAGap, clean, 1),
    ] {
        let report = run(mischief).await;
        assert!(!report.passed, "{}", report.table());
        assert_eq!((report.faults, report.counts.gaps), (faults, gaps), "{}", report.table());
        assert!(report.table().contains("FAILED"));
    }
}

#[tokio::test]
async fn a_client_that_is_given_a_wrong_answer_gives_up() {
    let bad_gateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
    for (answer, why) in [(bad_gateway, "status 502"), (page, "media type \"text/html\"")] {
        let report = run(Mischief::Answers(answer)).await;
        assert!(!report.passed && report.given_up == 1 && report.given_up_on[why] == 1, "{}", report.table());
    }
}

#[tokio::test]
async fn an_event_counts_as_accepted_when_a_publisher_knows_it() {
    let report = run(Mischief::HidesAnAnswer).await;
    assert!(report.passed && report.publish_errors == 1, "{}", report.table());
    let report = run(Mischief::Refuses).await;
    assert!(!report.passed && report.unknown > 0 && report.faults.is_clean(), "{}", report.table());
    assert!(report.notes[0].contains("closed before the answer"), "{}", report.table());
}

#[tokio::test]
async fn a_fault_that_did_nothing_fails_the_run_and_one_that_did_something_does_not() {
    let late = Duration::from_secs(1);
    for effect in [Effect::Drained, Effect::Broken, Effect::Refused, Effect::Late(late), Effect::Unread(1)] {
        let report = run_and(Mischief::Nothing, &[Step::Require(effect)]).await;
        assert!(!report.passed && report.faults.is_clean(), "{effect}\n{}", report.table());
        assert!(report.notes[0].contains("the fault proves nothing"), "{effect}\n{}", report.table());
        assert!(report.table().contains("NOT shown"), "{}", report.table());
    }
    let report = run_and(Mischief::HidesAnAnswer, &[Step::Require(Effect::Refused)]).await;
    assert!(report.passed, "{}", report.table());
    let report = run_and(Mischief::Nothing, &[Step::Stall(3), Step::Require(Effect::Unread(3))]).await;
    assert!(report.passed && report.phases[0].proofs[0].holds, "{}", report.table());
}
