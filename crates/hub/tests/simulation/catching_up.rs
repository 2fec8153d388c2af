//! Clients at different places of long logs, slow and fast, and nothing goes wrong: what nodes read is what clients get.

use std::time::Duration;

use bytesize::ByteSize;
use fanfare_config::stream::StreamConfig;
use fanfare_protocol::{Channel, Start};
use tokio::time::sleep;

use crate::faults::Faults;
use crate::ledger::Finish;
use crate::traffic::Sizes;
use crate::world::World;

/// Runs one seed and says which rule was broken.
pub(crate) async fn run(seed: u64, verbose: bool) -> Result<(), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sizes = [Sizes::Small, Sizes::Medium, Sizes::Large, Sizes::Mixed][rng.usize(0..4)];
    let settings = StreamConfig {
        queue: ByteSize::b(rng.u64(500..8_000)),
        page_events: rng.usize(1..100),
        page_bytes: ByteSize::b(rng.u64(500..8_000)),
        max_log_read_bytes: ByteSize::b(rng.u64(8_000..40_000)),
        recent_events: rng.usize(1..6),
        max_log_reads: rng.usize(1..6),
        heartbeat: Duration::from_millis(200),
        write_timeout: Duration::from_hours(1),
        shards: rng.usize(1..3),
        ..StreamConfig::default()
    };
    let clients = if rng.u8(0..3) == 0 { 1 } else { rng.usize(2..12) };
    let mut world = World::with(rng, Faults::Moves, settings, clients, sizes);
    let channel = Channel::broadcast();
    for _ in 0..world.rng.usize(10..120) {
        world.publish_in(&channel).await;
        sleep(Duration::from_millis(world.rng.u64(0..2))).await;
    }
    let (first, together) = (world.rng.usize(0..120), world.rng.bool());
    for client in 0..clients {
        let newest = if together { first } else { world.rng.usize(0..120) };
        world.open(client, std::slice::from_ref(&channel), Start::Latest, Some(newest));
        sleep(Duration::from_millis(world.rng.u64(0..20))).await;
    }
    for _ in 0..world.rng.usize(0..40) {
        world.publish_in(&channel).await;
        sleep(Duration::from_millis(world.rng.u64(0..30))).await;
    }
    let verdict = match world.catch_up(Finish::Newest).await {
        Ok(()) => in_proportion(&world),
        Err(why) => Err(why),
    };
    let verdict = verdict.and(world.leave().await);
    world.report(seed, verdict, verbose)
}

/// Half as much again as was delivered, for all clients together, and nothing else.
fn in_proportion(world: &World) -> Result<(), String> {
    let (delivered, read, wasted) = world.traffic();
    if read <= delivered * 3 / 2 {
        return Ok(());
    }
    Err(format!(
        "{read} bytes were read of logs for {delivered} that were delivered; {wasted} reached no client"
    ))
}
