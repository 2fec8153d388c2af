//! Finite streams: what an append costs Redis, how fast its bytes and a cancellation arrive on another node, and what a reader that waits
//! takes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::endpoint::Audience;
use crate::load_generator::{GeneratorSettings, LoadGenerator};
use crate::measurement::number;
use crate::table::contender::Running;
use crate::table::contender::fanfare::Fanfare;
use crate::table::contender::redis::Redis;
use crate::table::environment::Environment;
use crate::table::http::{Exchange, Response};
use crate::table::results::Recorder;

/// How many appends and events.
const ROUNDS: usize = 2000;
/// How many cancellations.
const CANCELLED: usize = 500;
/// How many readers and streams that wait.
const WAITING: usize = 5000;
/// How many calls of each script.
const CALLS: usize = 100_000;
/// Bytes of an append or event: some words of an answer.
const WORDS: &str = "some words of an answer that is written token by token now";

const PLAIN: &str = "Content-Type: text/plain\r\n";
const CANCEL: &str = "Content-Type: text/plain\r\nStream-Closed: true\r\nStream-End: cancelled\r\n";

/// Measures all of it.
pub(super) fn measure(environment: &Environment, recorder: &mut Recorder<'_>) -> anyhow::Result<()> {
    // All readers come from one address.
    let settings = vec![
        ("FANFARE_FINITE__LIVE_AGE", "1h"),
        ("FANFARE_LIMITS__SOCKETS", "20000"),
        ("FANFARE_LIMITS__SOCKETS_PER_ADDRESS", "20000"),
    ];
    let fanfare = Fanfare { settings, ..Fanfare::default() };
    let here = fanfare.start(environment, Audience::Each(1))?;
    let Some(redis) = &here.redis else { anyhow::bail!("there is no Redis") };
    let there = Fanfare { id: "there", ..fanfare.clone() }.start_beside(environment, redis)?;
    arrival(environment, recorder, (here.endpoint.address, there.1))?;
    cancellation(environment, recorder, (here.endpoint.address, there.1))?;
    drop(there);
    cost(environment, recorder, redis, here.endpoint.address)?;
    drop(here);
    waiting(environment, recorder, &fanfare)
}

/// Returns a share of a number, if the run is quick.
fn share(environment: &Environment, all: usize) -> usize {
    if environment.quick { all / 20 } else { all }
}

/// Appends and publishes in turns on one node; a reader and a stream of the other node receive.
fn arrival(
    environment: &Environment,
    recorder: &mut Recorder<'_>,
    (here, there): (SocketAddr, SocketAddr),
) -> anyhow::Result<()> {
    let mut writer = Exchange::connect(here)?;
    expect(writer.call("PUT", "/v1/stream/arrival", PLAIN, "")?, 201)?;
    let mut reader = Response::open(there, "/v1/stream/arrival?offset=-1&live=sse", "event: control")?;
    let mut stream = Response::open(there, "/v1/events?channel=arrival", "event: connected")?;
    let (mut appends, mut events) = (histogram()?, histogram()?);
    for round in 0..share(environment, ROUNDS) {
        let text = format!("{WORDS} <{round}>");
        let begun = Instant::now();
        let status = writer.send("POST", "/v1/stream/arrival", PLAIN, &text)?;
        reader.wait_for(&format!("<{round}>"))?;
        appends.record(micros(begun))?;
        expect(status.finish()?, 204)?;
        let body = format!(r#"{{"channel":"arrival","data":"{text}"}}"#);
        let begun = Instant::now();
        let status = writer.send("POST", "/v1/publish", "Content-Type: application/json\r\n", &body)?;
        stream.wait_for(&format!("<{round}>"))?;
        events.record(micros(begun))?;
        expect(status.finish()?, 200)?;
    }
    for (setting, histogram) in [("append to reader", &appends), ("event to stream", &events)] {
        recorder.write(
            setting,
            "fanfare",
            &[("p50 us", quantile(histogram, 0.5)), ("p99 us", quantile(histogram, 0.99))],
        );
    }
    Ok(())
}

/// Ends streams on one node, which a producer watches on the other.
fn cancellation(
    environment: &Environment,
    recorder: &mut Recorder<'_>,
    (here, there): (SocketAddr, SocketAddr),
) -> anyhow::Result<()> {
    let mut writer = Exchange::connect(here)?;
    let mut seen = histogram()?;
    for round in 0..share(environment, CANCELLED) {
        let path = format!("/v1/stream/cancelled-{round}");
        expect(writer.call("PUT", &path, PLAIN, WORDS)?, 201)?;
        let mut watch = Response::open(there, &format!("{path}?offset=now&live=sse"), "event: control")?;
        let begun = Instant::now();
        let status = writer.send("POST", &path, CANCEL, "")?;
        watch.wait_for("\"streamEnd\":\"cancelled\"")?;
        seen.record(micros(begun))?;
        expect(status.finish()?, 204)?;
    }
    recorder.write(
        "cancel to producer",
        "fanfare",
        &[("p50 us", quantile(&seen, 0.5)), ("p99 us", quantile(&seen, 0.99))],
    );
    Ok(())
}

/// CPU of Redis for each call: an event, an append, and an append with a producer's numbers, as nodes make them.
fn cost(
    environment: &Environment,
    recorder: &mut Recorder<'_>,
    redis: &Redis,
    node: SocketAddr,
) -> anyhow::Result<()> {
    let mut writer = Exchange::connect(node)?;
    let calls = share(environment, CALLS);
    for (setting, headers) in [
        ("Redis, an append", PLAIN.to_owned()),
        (
            "Redis, a producer's append",
            format!("{PLAIN}Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n"),
        ),
    ] {
        expect(writer.call("PUT", "/v1/stream/cost", PLAIN, "")?, 201)?;
        let command = seen_call(redis, || {
            expect(
                writer.call("POST", "/v1/stream/cost", &headers, WORDS)?,
                if headers == PLAIN { 204 } else { 200 },
            )
        })?;
        // A producer's number, behind its id and epoch, grows.
        let numbered = command.iter().position(|word| word == "p").map(|at| at + 2);
        recorder.write(setting, "fanfare", &[("cpu us", per_call(redis, &command, numbered, calls)?)]);
        expect(writer.call("DELETE", "/v1/stream/cost", "", "")?, 204)?;
    }
    let body = format!(r#"{{"channel":"cost","data":"{WORDS}"}}"#);
    let command = seen_call(redis, || {
        expect(writer.call("POST", "/v1/publish", "Content-Type: application/json\r\n", &body)?, 200)
    })?;
    recorder.write("Redis, an event", "fanfare", &[("cpu us", per_call(redis, &command, None, calls)?)]);
    Ok(())
}

/// Returns the words of the script's call that a request makes, as Redis shows them.
fn seen_call(redis: &Redis, request: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<String>> {
    let mut socket = TcpStream::connect(redis.address)?;
    socket.write_all(b"MONITOR\r\n")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(socket).lines();
    anyhow::ensure!(lines.next().transpose()?.as_deref() == Some("+OK"), "Redis does not show its commands");
    request()?;
    for line in lines {
        let line = line?;
        // Each word is in quotation marks; none of these has one.
        let words: Vec<String> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        let is_script = words.first().is_some_and(|name| name.eq_ignore_ascii_case("evalsha"));
        if is_script && words.iter().any(|word| word == WORDS) {
            return Ok(words);
        }
    }
    anyhow::bail!("the request made no call of a script")
}

/// Repeats a call, and returns how many microseconds Redis takes for one. `numbered`: the word that grows by one.
fn per_call(redis: &Redis, command: &[String], numbered: Option<usize>, calls: usize) -> anyhow::Result<f64> {
    let mut connection = redis.connect()?;
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection)?;
    let mut made = 0;
    while made < calls {
        let mut pipeline = redis::pipe();
        for _ in 0..100 {
            made += 1;
            let call = pipeline.cmd(&command[0]);
            for (at, word) in command.iter().enumerate().skip(1) {
                if numbered == Some(at) {
                    call.arg(made)
                } else {
                    call.arg(word)
                };
            }
        }
        let _: Vec<redis::Value> = pipeline.query(&mut connection)?;
    }
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection)?;
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    let per_call = line.and_then(|line| line.split("usec_per_call=").nth(1)?.split(',').next()?.parse().ok());
    per_call.ok_or_else(|| anyhow::anyhow!("Redis counted no script: {stats}"))
}

/// Memory of readers that wait at the end of a stream each, and of streams of events.
fn waiting(environment: &Environment, recorder: &mut Recorder<'_>, fanfare: &Fanfare) -> anyhow::Result<()> {
    let count = environment.streams(WAITING);
    let running = fanfare.start(environment, Audience::Each(1))?;
    recorder.write("waiting stream", "fanfare", &[("bytes", memory(environment, &running, count)?)]);
    drop(running);
    let mut running = fanfare.start(environment, Audience::Each(1))?;
    let mut writer = Exchange::connect(running.endpoint.address)?;
    for n in 0..count {
        expect(writer.call("PUT", &format!("/v1/stream/{n}"), PLAIN, WORDS)?, 201)?;
    }
    "/v1/stream/{user}?offset=-1&live=sse".clone_into(&mut running.endpoint.stream);
    "event: control".clone_into(&mut running.endpoint.ready);
    recorder.write("waiting reader", "fanfare", &[("bytes", memory(environment, &running, count)?)]);
    Ok(())
}

fn memory(environment: &Environment, running: &Running, count: usize) -> anyhow::Result<f64> {
    let watched = running.watched();
    let before = watched[0].memory().anonymous;
    let settings =
        GeneratorSettings { streams: count, audience: Audience::Each(1), sampled: 0, publishers: 1 };
    let mut generator = LoadGenerator::new(running.endpoint.clone(), settings)?;
    generator.open(64)?;
    generator.rest(environment.time(Duration::from_secs(5)))?;
    Ok(number(watched[0].memory().anonymous.saturating_sub(before)) / number(count as u64))
}

fn expect(status: u16, wanted: u16) -> anyhow::Result<()> {
    anyhow::ensure!(status == wanted, "the node answered {status} instead of {wanted}");
    Ok(())
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn quantile(histogram: &Histogram<u64>, at: f64) -> f64 {
    number(histogram.value_at_quantile(at))
}
