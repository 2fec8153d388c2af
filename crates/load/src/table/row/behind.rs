//! A client far behind beside many that are not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::archive;
use crate::bench::crowd::Crowd;
use crate::bench::measure::Pace;
use crate::bench::measurement::{Measurement, number};
use crate::bench::sample::MARK;
use crate::bench::site::Audience;
use crate::table::book::Page;
use crate::table::contender::Running;
use crate::table::contender::fanfare::Fanfare;
use crate::table::lab::Lab;

/// How far behind the client is.
const EVENTS: usize = 100_000;
/// How many are live meanwhile.
const STREAMS: usize = 5000;
/// Events a second that each of those gets: about a third of what one core can write.
const RATE: f64 = 15.0;

/// The delays of the others without that client and with it, which begins again whenever it has caught up.
pub(super) fn measure(lab: &Lab, page: &mut Page<'_>) -> anyhow::Result<()> {
    let node = Fanfare {
        settings: vec![("FANFARE_RETENTION__RULES", "archive events=200000 age=1d")],
        ..Fanfare::default()
    };
    let running = node.start(lab, Audience::All)?;
    let events = lab.streams(EVENTS);
    archive::fill(&running, "archive", events, 100)?;
    let mut crowd = lab.crowd(&running.site, lab.streams(STREAMS), Audience::All, 1)?;
    page.measured("nobody behind", "fanfare", others(lab, &mut crowd, &running)?);
    let client = Behind::start(running.site.address, events as u64);
    let found = others(lab, &mut crowd, &running)?;
    let read = client.finish()?;
    anyhow::ensure!(read > 0, "the client that was behind got nothing");
    page.measured("one far behind", "fanfare", found);
    page.write("the one", "fanfare", &[("events read", number(read))]);
    Ok(())
}

fn others(lab: &Lab, crowd: &mut Crowd, running: &Running) -> anyhow::Result<Measurement> {
    Ok(crowd.measure(&lab.load(Pace::Rate(RATE)), &running.watched())?)
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
