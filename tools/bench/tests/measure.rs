//! The benchmark against the baseline: every event is counted, once, whichever way it is read.

use std::thread;
use std::time::Duration;

use fanfare_bench::baseline::Baseline;
use fanfare_bench::endpoint::{Audience, Endpoint, Way};
use fanfare_bench::load_generator::{BenchError, GeneratorSettings, LoadGenerator};
use fanfare_bench::measure::{Load, Pace};
use fanfare_bench::measurement::Measurement;
use fanfare_bench::process::Watched;
use fanfare_bench::sample::Content;
use fanfare_testkit::received::Faults;

const STREAMS: usize = 40;

/// Returns a baseline in a thread of its own, which ends with the test's process.
fn baseline() -> Endpoint {
    let baseline = Baseline::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = baseline.address().unwrap();
    thread::spawn(move || baseline.run());
    let way = Way::Http { address, path: "/".into(), headers: Vec::new(), body: "{data}".into() };
    Endpoint::new(address, "/", way)
}

fn per_user() -> Endpoint {
    let mut endpoint = baseline();
    endpoint.stream = "/?user={user}".into();
    if let Some(Way::Http { path, .. }) = &mut endpoint.way {
        *path = "/?user={target}".into();
    }
    endpoint
}

fn load(pace: Pace) -> Load {
    let ms = Duration::from_millis;
    Load { pace, size: 100, content: Content::Filler, warm_up: ms(50), window: ms(300), progress: false }
}

fn settings(audience: Audience, sampled: usize) -> GeneratorSettings {
    GeneratorSettings { streams: STREAMS, audience, sampled, publishers: 4 }
}

fn assert_clean(found: &Measurement) {
    assert!(found.published > 0 && found.delivered > 0, "{found}");
    assert_eq!((found.lost, found.surplus, found.duplicated), (0, 0, 0), "{found}");
    assert_eq!(found.streams, STREAMS);
}

#[test]
fn a_broadcast_is_counted_on_every_stream_and_read_on_some() {
    let mut generator = LoadGenerator::new(baseline(), settings(Audience::All, 10)).unwrap();
    generator.open(8).unwrap();
    let watched = [Watched::new("server", std::process::id())];
    let found = generator.measure(&load(Pace::InFlight(1)), &watched).unwrap();
    assert_clean(&found);
    assert_eq!(found.out_of_order, 0, "one at a time cannot change places");
    assert_eq!(generator.received(), generator.published() * STREAMS as u64);
    // A quarter of the streams reads every event.
    assert!(found.delays.count >= found.published * 9 && found.delays.count <= (found.published + 2) * 10);
    assert!(found.delays.p50 > 0.0 && found.delays.p50 <= found.delays.max);
    assert!(found.cost("server") > 0.0 && found.cost("load") > 0.0 && found.anonymous["server"] > 0);
    // `b8`, CRLF, id, data with its field name, a blank line, CRLF.
    assert!((100.0..160.0).contains(&found.bytes_per_delivery), "{}", found.bytes_per_delivery);
}

#[test]
fn several_in_flight_all_come() {
    let mut generator = LoadGenerator::new(baseline(), settings(Audience::All, 1)).unwrap();
    generator.open(8).unwrap();
    assert_clean(&generator.measure(&load(Pace::InFlight(4)), &[]).unwrap());
}

#[test]
fn what_is_for_one_user_comes_to_that_user_only() {
    for pace in [Pace::InFlight(3), Pace::Rate(500.0)] {
        let mut generator = LoadGenerator::new(per_user(), settings(Audience::Each(1), STREAMS)).unwrap();
        generator.open(8).unwrap();
        let found = generator.measure(&load(pace), &[]).unwrap();
        assert_clean(&found);
        assert_eq!(generator.received(), generator.published(), "{pace}");
        assert_eq!(generator.faults(), Faults { out_of_order: found.out_of_order, ..Faults::default() });
    }
}

#[test]
fn what_does_not_come_is_missed() {
    // Everybody should get it, and it is sent to user 0 only.
    let mut endpoint = per_user();
    if let Some(Way::Http { path, .. }) = &mut endpoint.way {
        *path = "/?user=0".into();
    }
    let mut generator = LoadGenerator::new(endpoint, settings(Audience::All, STREAMS)).unwrap();
    generator.open(8).unwrap();
    generator.publish_rounds(3, 100, Content::Filler).unwrap();
    let others = (STREAMS as u64 - 1) * 3;
    assert!(generator.missing() >= others && generator.faults().lost >= others, "{}", generator.missing());
}

#[test]
fn a_stream_that_the_server_ends_is_told() {
    // Every stream is user 0: only the last to come is written to.
    let mut endpoint = per_user();
    endpoint.stream = "/?user=0".into();
    let mut generator = LoadGenerator::new(endpoint, settings(Audience::All, 0)).unwrap();
    let refused = generator.open(1);
    assert!(matches!(refused, Err(BenchError::Dropped { .. })), "{refused:?}");
}

#[test]
fn a_round_is_taken_and_then_comes() {
    let mut generator = LoadGenerator::new(per_user(), settings(Audience::Each(1), STREAMS)).unwrap();
    generator.open(8).unwrap();
    generator.publish_round(100, Content::Json).unwrap();
    generator.wait_for_all().unwrap();
    assert_eq!((generator.received(), generator.missing(), generator.surplus()), (STREAMS as u64, 0, 0));
    generator.close();
    assert_eq!(generator.open_streams(), 0);
}

#[test]
fn a_report_has_the_shape_that_programs_read() {
    let mut generator = LoadGenerator::new(baseline(), settings(Audience::All, 10)).unwrap();
    generator.open(8).unwrap();
    let found =
        generator.measure(&load(Pace::InFlight(1)), &[Watched::new("server", std::process::id())]).unwrap();
    let json = serde_json::to_value(&found).unwrap();
    for path in [
        "/streams",
        "/pace",
        "/deliveries_per_second",
        "/cpu/server/per_delivery",
        "/cpu/load/cores",
        "/delays/p99",
        "/lost",
    ] {
        assert!(json.pointer(path).is_some(), "{path} in {json}");
    }
    assert_eq!(serde_json::from_value::<Measurement>(json).unwrap(), found);
}
