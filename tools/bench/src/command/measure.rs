//! `fanfare-bench measure`.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fanfare_bench::endpoint::{Audience, Endpoint, Way, place};
use fanfare_bench::load_generator::{GeneratorSettings, LoadGenerator};
use fanfare_bench::measure::{Load, Pace};
use fanfare_bench::process::Watched;
use fanfare_bench::sample::Content;
use fanfare_bench::signer::Signer;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Fanfare, broadcast with FCALL:
  fanfare-bench measure --url http://127.0.0.1:8080/v1/events --redis 127.0.0.1:6379 \\
    --redis-command \"FCALL fanfare_publish 1 fanfare:{broadcast}:log '' {data}\" --watch node=4711
Fanfare, one user per event, over HTTP:
  fanfare-bench measure --each --url 'http://127.0.0.1:8080/v1/events?user={user}' \\
    --publish-url http://127.0.0.1:8080/v1/publish --publish-header 'Content-Type: application/json' \\
    --publish-body '{\"channel\":\"user:{target}\",\"data\":\"{escaped}\"}'
The baseline:
  fanfare-bench baseline --listen 127.0.0.1:8088
  fanfare-bench measure --url http://127.0.0.1:8088/ --publish-url http://127.0.0.1:8088/ --publish-body '{data}'")]
pub(crate) struct Args {
    /// URL of a stream; `{user}` is the stream's number, `{channels}` a `&channel=c<target>` for each target
    #[arg(long)]
    url: String,
    /// Header line for the stream's request; `{token}` is a JWT for the user
    #[arg(long)]
    header: Vec<String>,
    /// File with the HS256 secret of these tokens
    #[arg(long)]
    jwt_secret_file: Option<PathBuf>,
    /// Text that shows that a stream is open, like `event: connected` [default: the response head is enough]
    #[arg(long, default_value = "")]
    ready: String,
    /// Number of streams
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Number of streams that connect at a time
    #[arg(long, default_value_t = 64)]
    connecting: usize,
    /// Send each event to one stream instead of all
    #[arg(long)]
    each: bool,
    /// Targets per stream, with --each
    #[arg(long, default_value_t = 1)]
    targets: usize,
    /// Number of streams that read every event; the others only count events [default: 100; all with --each]
    #[arg(long)]
    sampled: Option<usize>,
    /// Publish over HTTP to this URL; `{target}` is the target
    #[arg(long)]
    publish_url: Option<String>,
    /// Header line for the publishing request
    #[arg(long)]
    publish_header: Vec<String>,
    /// Body of the publishing request; `{data}` is the event's data, `{escaped}` the same escaped for a JSON string,
    /// `{target}` the target
    #[arg(long, default_value = "{data}")]
    publish_body: String,
    /// Publish through Redis at `host:port`
    #[arg(long, conflicts_with = "publish_url", requires = "redis_command")]
    redis: Option<String>,
    /// Redis command, its words separated by spaces, `''` for an empty word; placeholders as in --publish-body
    #[arg(long)]
    redis_command: Option<String>,
    /// Bytes of data in each event
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Kind of data
    #[arg(long, value_enum, default_value_t)]
    content: Content,
    /// Number of events in flight; delays are measured from sending
    #[arg(long, default_value_t = 1, conflicts_with = "rate")]
    in_flight: u64,
    /// Events a second, independent of deliveries; delays are measured from when an event was due, so that a late
    /// publisher hides nothing. Due events are sent every 200 us
    #[arg(long)]
    rate: Option<f64>,
    /// Process to observe, with its children: `name=pid`
    #[arg(long, value_parser = watched)]
    watch: Vec<Watched>,
    /// Time before the measurement starts
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Duration of the measurement
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Write the result as JSON to standard output
    #[arg(long)]
    json: bool,
}

/// Measures once.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let endpoint = endpoint(args)?;
    let audience = if args.each { Audience::Each(args.targets) } else { Audience::All };
    let usual = if args.each { args.streams } else { 100 };
    let settings = GeneratorSettings {
        streams: args.streams,
        audience,
        sampled: args.sampled.unwrap_or(usual),
        // One more than are out, so that an answer that comes late holds up nothing.
        publishers: if args.rate.is_some() { 64 } else { usize::try_from(args.in_flight)? + 1 },
    };
    let before: Vec<u64> = args.watch.iter().map(|watched| watched.memory().anonymous).collect();
    let mut generator = LoadGenerator::new(endpoint, settings)?;
    let took = generator.open(args.connecting)?;
    eprintln!("{} streams open in {:.2} s", args.streams, took.as_secs_f64());
    generator.rest(Duration::from_secs(1))?;
    for (watched, before) in args.watch.iter().zip(before) {
        let bytes = watched.memory().anonymous.saturating_sub(before) / args.streams.max(1) as u64;
        eprintln!("{}: {bytes} bytes of user-space memory for each stream", watched.label);
    }
    let load = Load {
        pace: args.rate.map_or(Pace::InFlight(args.in_flight), Pace::Rate),
        size: args.size,
        content: args.content,
        warm_up: args.warm_up,
        window: args.window,
        progress: true,
    };
    let found = generator.measure(&load, &args.watch)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{found}");
    }
    Ok(ExitCode::SUCCESS)
}

fn endpoint(args: &Args) -> anyhow::Result<Endpoint> {
    let (address, stream) = place(&args.url)?;
    let way = match (&args.publish_url, &args.redis, &args.redis_command) {
        (Some(url), _, _) => {
            let (address, path) = place(url)?;
            let (headers, body) = (args.publish_header.clone(), args.publish_body.clone());
            Way::Http { address, path, headers, body }
        }
        (None, Some(redis), Some(command)) => {
            let address = redis.to_socket_addrs().ok().and_then(|mut found| found.next());
            let address = address.with_context(|| format!("{redis:?} is not host:port"))?;
            Way::Redis { address, command: words(command) }
        }
        _ => anyhow::bail!("no way to publish is set (use --publish-url, or --redis with --redis-command)"),
    };
    let secret = args.jwt_secret_file.as_ref().map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| path.display().to_string())
            .map(|secret| secret.trim_ascii_end().to_owned())
    });
    Ok(Endpoint {
        address,
        stream,
        headers: args.header.clone(),
        signer: secret.transpose()?.map(Signer::Secret),
        ready: args.ready.clone(),
        way: Some(way),
    })
}

fn words(command: &str) -> Vec<String> {
    let word = |word: &str| if word == "''" { String::new() } else { word.to_owned() };
    command.split_whitespace().map(word).collect()
}

fn watched(text: &str) -> Result<Watched, String> {
    let (label, pid) = text.split_once('=').ok_or("not name=pid")?;
    Ok(Watched::new(label, pid.parse().map_err(|error| format!("{pid:?}: {error}"))?))
}
