//! A client far behind beside many that are not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::archive;
use crate::endpoint::Audience;
use crate::load_generator::LoadGenerator;
use crate::measure::Pace;
use crate::measurement::{Measurement, number};
use crate::sample::MARK;
use crate::table::contender::Running;
use crate::table::contender::fanfare::Fanfare;
use crate::table::environment::Environment;
use crate::table::results::Recorder;

/// How far behind the client is.
const EVENTS: usize = 100_000;
/// How many are live meanwhile.
const STREAMS: usize = 5000;
/// Events a second that each of those gets: about a third of what one core can write.
const RATE: f64 = 15.0;

/// The delays of the others without that client and with it, which begins again whenever it has caught up.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    let node = Fanfare {
        settings: vec![("FANFARE_RETENTION__RULES", "archive events=200000 age=1d")],
        ..Fanfare::default()
    };
    let running = node.start(environment, Audience::All)?;
    let events = environment.streams(EVENTS);
    archive::fill(&running, "archive", events, 100)?;
    let mut generator =
        environment.generator(&running.endpoint, environment.streams(STREAMS), Audience::All, 1)?;
    recorder.measured("none behind", "fanfare", others(environment, &mut generator, &running)?);
    let client = Behind::start(running.endpoint.address, events as u64);
    let found = others(environment, &mut generator, &running)?;
    let read = client.finish()?;
    anyhow::ensure!(read > 0, "the client that was behind got nothing");
    recorder.measured("one far behind", "fanfare", found);
    recorder.write("the one", "fanfare", &[("events read", number(read))]);
    Ok(())
}

fn others(
    environment: &Environment,
    generator: &mut LoadGenerator,
    running: &Running,
) -> anyhow::Result<Measurement> {
    Ok(generator.measure(&environment.load(Pace::Rate(RATE)), &running.watched())?)
}

/// The client that is behind. A thread of its own; it counts and does nothing else.
struct Behind {
    thread: JoinHandle<std::io::Result<()>>,
    finish: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
}

impl Behind {
    fn start(address: SocketAddr, events: u64) -> Self {
        let (finish, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (finished, count) = (Arc::clone(&finish), Arc::clone(&read));
        let thread = thread::spawn(move || {
            while !finished.load(Ordering::Relaxed) {
                catch_up(address, events, &finished, &count)?;
            }
            Ok(())
        });
        Self { thread, finish, read }
    }

    /// Stops. Returns the number of events that it has read.
    fn finish(self) -> anyhow::Result<u64> {
        self.finish.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the client that was behind has panicked"))??;
        Ok(self.read.load(Ordering::Relaxed))
    }
}

/// Reads everything there is, once.
fn catch_up(address: SocketAddr, events: u64, finish: &AtomicBool, count: &AtomicU64) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET /v1/events?channel=archive&after=earliest HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    // Live events wake it after it has caught up and was stopped.
    let (mut got, mut buffer) = (0, vec![0; 64 * 1024]);
    while got < events && !finish.load(Ordering::Relaxed) {
        let length = socket.read(&mut buffer)?;
        if length == 0 {
            return Err(std::io::Error::other("the server ended the stream of the client that was behind"));
        }
        let more = memchr::memchr_iter(MARK, &buffer[..length]).count() as u64;
        got += more;
        count.fetch_add(more, Ordering::Relaxed);
    }
    Ok(())
}
