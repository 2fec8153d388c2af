//! What Redis sends while clients catch up, for each byte that they receive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::archive;
use crate::endpoint::Audience;
use crate::measurement::number;
use crate::sample::MARK;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// One size of events, and how many there are to read.
struct Archive {
    /// What it is called in the results.
    name: &'static str,
    channel: &'static str,
    /// Bytes of data in an event.
    size: usize,
    events: usize,
}

/// Two to eight megabytes each.
const ARCHIVES: [Archive; 4] = [
    Archive { name: "0.1 KB", channel: "archive:100", size: 100, events: 20_000 },
    Archive { name: "1 KB", channel: "archive:1k", size: 1_000, events: 4_000 },
    Archive { name: "16 KB", channel: "archive:16k", size: 16_384, events: 300 },
    Archive { name: "64 KB", channel: "archive:64k", size: 65_536, events: 120 },
];
/// How many clients read at the same time, each from another place; at least as many as there are with `--quick`.
const CLIENTS: usize = 200;
const FEWEST: usize = 20;
/// How long a client may wait for bytes.
const PATIENCE: Duration = Duration::from_mins(1);
/// The receive buffer of a slow client in bytes, and how long it pauses after each read: its queue in the node is full
/// most of the time.
const SLOW_BUFFER: usize = 16 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(2);

/// Each size, with one client and with many.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let node = Fanfare {
        settings: vec![
            ("FANFARE_RETENTION__RULES", "archive:* events=200000 age=1d"),
            ("FANFARE_LIMITS__EVENT_DATA", "128KiB"),
        ],
        ..Fanfare::default()
    };
    let running = node.start(environment, Audience::All)?;
    let Some(redis) = &running.redis else { anyhow::bail!("there is no Redis") };
    let mut worst = 0.0_f64;
    for archive in &ARCHIVES {
        archive::fill(&running, archive.channel, archive.events, archive.size)?;
        let positions = positions(redis, archive)?;
        for clients in [1, environment.streams(CLIENTS).max(FEWEST)] {
            let meter = Meter::start(environment, redis)?;
            let received = catch_up(running.endpoint.address, archive, &positions, clients)?;
            let sent = meter.finish()?;
            let factor = sent / number(received);
            worst = worst.max(factor);
            let who = if clients == 1 { "one client".into() } else { format!("{clients} clients") };
            recorder.write(
                &format!("{}, {who}", archive.name),
                "fanfare",
                &[("redis bytes a byte", factor), ("MB received", number(received) / 1e6)],
            );
        }
    }
    recorder.write("the worst of them", "fanfare", &[("redis bytes a byte", worst)]);
    Ok(())
}

/// Returns the positions of an archive's events, and before them one that stands before all.
fn positions(redis: &Redis, archive: &Archive) -> anyhow::Result<Vec<String>> {
    let mut range = redis::cmd("XRANGE");
    range.arg(format!("fanfare:{{{}}}:log", archive.channel)).arg("-").arg("+");
    let entries: Vec<(String, redis::Value)> = range.query(&mut redis.connect()?)?;
    anyhow::ensure!(entries.len() == archive.events, "{} of {} are kept", entries.len(), archive.events);
    Ok(std::iter::once("earliest".to_owned()).chain(entries.into_iter().map(|(id, _)| id)).collect())
}

/// Lets clients catch up at the same time, every other one slowly. Answers how many bytes they received.
fn catch_up(
    address: SocketAddr,
    archive: &Archive,
    positions: &[String],
    clients: usize,
) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                // Evenly over the first half, so that each has something to read for a while.
                let read = client * archive.events / 2 / clients;
                let after = &positions[read];
                let (missed, slow) = (archive.events - read, client % 2 == 1);
                scope.spawn(move || read_missed(address, archive.channel, after, missed, slow))
            })
            .collect();
        clients.into_iter().try_fold(0, |sum, client| {
            let received = client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??;
            Ok(sum + received)
        })
    })
}

/// One client, until it has all that it missed. Answers how many bytes that were.
fn read_missed(
    address: SocketAddr,
    channel: &str,
    after: &str,
    missed: usize,
    slow: bool,
) -> anyhow::Result<u64> {
    let mut socket = connect(address, slow)?;
    write!(socket, "GET /v1/events?channel={channel}&after={after} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let (mut events, mut received, mut buffer) = (0, 0, vec![0; 64 * 1024]);
    while events < missed {
        let length = socket.read(&mut buffer)?;
        anyhow::ensure!(length > 0, "the server ended a stream after {events} of {missed} events");
        events += memchr::memchr_iter(MARK, &buffer[..length]).count();
        received += length as u64;
        if slow {
            thread::sleep(SLOW_PAUSE);
        }
    }
    anyhow::ensure!(events == missed, "{events} events came for {missed}");
    Ok(received)
}

fn connect(address: SocketAddr, slow: bool) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if slow {
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
    }
    socket.connect(&address.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Counts the bytes that Redis sends for something, beside what it sends when nothing happens.
struct Meter {
    connection: redis::Connection,
    /// Bytes of an answer to this meter.
    own: f64,
    /// Bytes a second when nothing happens.
    idle: f64,
    before: f64,
    began: std::time::Instant,
}

impl Meter {
    fn start(environment: &Environment, redis: &Redis) -> anyhow::Result<Self> {
        let mut connection = redis.connect()?;
        let first = sent(&mut connection)?;
        let own = sent(&mut connection)? - first;
        let (rest, from) = (environment.time(Duration::from_secs(5)), sent(&mut connection)?);
        thread::sleep(rest);
        let before = sent(&mut connection)?;
        let idle = (before - from - own).max(0.0) / rest.as_secs_f64();
        Ok(Self { connection, own, idle, before, began: std::time::Instant::now() })
    }

    fn finish(mut self) -> anyhow::Result<f64> {
        let (after, took) = (sent(&mut self.connection)?, self.began.elapsed().as_secs_f64());
        Ok((after - self.before - self.own - self.idle * took).max(0.0))
    }
}

/// Returns how many bytes Redis has sent since it started.
fn sent(connection: &mut redis::Connection) -> anyhow::Result<f64> {
    let stats: String = redis::cmd("INFO").arg("stats").query(connection)?;
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    let bytes = line.ok_or_else(|| anyhow::anyhow!("INFO does not say how many bytes were sent"))?;
    Ok(bytes.trim().parse()?)
}
