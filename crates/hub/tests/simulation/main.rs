//! A deterministic simulation of delivery: the real hub, shards and connections over a twin of the broker that
//! loses wires, delays and fails reads, trims, expires, wipes and rolls back logs, and to whose live topics others write; with clients that are slow, leave
//! at any byte, move between nodes and change their channels. All is drawn from a seed, on virtual time.
//!
//! `FANFARE_SIM_SEEDS=10000` runs 10,000 seeds; `FANFARE_SIM_SEED=77` runs one seed and prints its events.
//!
//! # Layout
//!
//! - `world`: one run: nodes, publishers, clients that come and go
//! - `opening`: how clients open streams, and read them
//! - `faults`: what goes wrong in it
//! - `catching_up`: a run in which nothing does, and much is read
//! - `twin`: the broker, and the way to it
//! - `client`: a client, and what it must have received
//! - `ledger`: what was published, and the verdict
//! - `traffic`: what was read, and what for

#![allow(missing_docs, reason = "a test program has no users")]

mod catching_up;
mod client;
mod faults;
mod ledger;
mod opening;
mod traffic;
mod twin;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use faults::Faults;

/// Runs something from a seed on virtual time.
fn seeded<T>(seed: u64, run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be built");
    fastrand::seed(seed);
    runtime.block_on(run)
}

/// Runs one seed; panics with it if a rule was broken.
fn run(seed: u64, faults: Faults, verbose: bool) {
    judge(seed, &faults.to_string(), seeded(seed, world::run(seed, faults, verbose)));
}

fn judge(seed: u64, test: &str, verdict: Result<(), String>) {
    if let Err(why) = verdict {
        panic!(
            "{why}\nreplay alone: FANFARE_SIM_SEED={seed} cargo test -p fanfare-hub --test simulation {test}"
        );
    }
}

/// Runs as many seeds as are asked for, on every core.
fn run_many(default: u64, run: impl Fn(u64, bool) + Sync) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("FANFARE_SIM_SEED") {
        return run(seed, true);
    }
    let seeds = number("FANFARE_SIM_SEEDS").unwrap_or(default);
    let next = AtomicU64::new(number("FANFARE_SIM_FIRST").unwrap_or(0));
    let end = next.load(Ordering::Relaxed) + seeds;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    run(seed, false);
                }
            });
        }
    });
}

#[test]
fn moving_clients() {
    run_many(100, |seed, verbose| run(seed, Faults::Moves, verbose));
}

#[test]
fn lost_wires() {
    run_many(120, |seed, verbose| run(seed, Faults::Wires, verbose));
}

#[test]
fn trimmed_and_expired_logs() {
    run_many(140, |seed, verbose| run(seed, Faults::Logs, verbose));
}

#[test]
fn forged_live_events() {
    run_many(140, |seed, verbose| run(seed, Faults::Forgeries, verbose));
}

#[test]
fn failovers() {
    run_many(140, |seed, verbose| run(seed, Faults::Failovers, verbose));
}

#[test]
fn clocks_that_are_set_back() {
    run_many(200, |seed, verbose| run(seed, Faults::Clocks, verbose));
}

#[test]
fn catching_up() {
    run_many(100, |seed, verbose| {
        judge(seed, "catching_up", seeded(seed, catching_up::run(seed, verbose)));
    });
}

#[test]
fn everything() {
    run_many(200, |seed, verbose| run(seed, Faults::Everything, verbose));
}

#[test]
fn the_same_seed_runs_the_same() {
    let trace = |seed| seeded(seed, world::trace(seed, Faults::Everything));
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}
