//! A deterministic simulation of delivery: the real hub, writer loops and connections over a twin of the broker that
//! loses wires, delays and fails reads, trims, expires, wipes and rolls back logs; with clients that are slow, leave
//! at any byte, move between nodes and change their channels. All is drawn from a seed, on virtual time.
//!
//! `FANFARE_SIM_SEEDS=10000` runs so many seeds, `FANFARE_SIM_SEED=77` one, and prints what happened in it.
//!
//! # Layout
//!
//! - `world`: one run: nodes, faults, publishers
//! - `twin`: the broker and its faults
//! - `client`: a client, and what it must have received
//! - `ledger`: what was published, and the verdict

#![allow(missing_docs, reason = "a test program has no users")]

mod client;
mod ledger;
mod twin;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::Faults;

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
    if let Err(why) = seeded(seed, world::run(seed, faults, verbose)) {
        panic!(
            "{why}\nreplay alone: FANFARE_SIM_SEED={seed} cargo test -p fanfare-node --test simulation {faults}"
        );
    }
}

/// Runs as many seeds as are asked for, on every core.
fn run_many(faults: Faults, default: u64) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("FANFARE_SIM_SEED") {
        return run(seed, faults, true);
    }
    let seeds = number("FANFARE_SIM_SEEDS").unwrap_or(default);
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    run(seed, faults, false);
                }
            });
        }
    });
}

#[test]
fn moving_clients() {
    run_many(Faults::Moves, 300);
}

#[test]
fn lost_wires() {
    run_many(Faults::Wires, 400);
}

#[test]
fn trimmed_and_expired_logs() {
    run_many(Faults::Logs, 500);
}

#[test]
fn failovers() {
    run_many(Faults::Failovers, 500);
}

#[test]
fn everything() {
    run_many(Faults::Everything, 800);
}

#[test]
fn the_same_seed_runs_the_same() {
    let trace = |seed| seeded(seed, world::trace(seed, Faults::Everything));
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}
