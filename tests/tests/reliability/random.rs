//! Faults of all kinds, drawn at random: three minutes, an hour in the long form.
//!
//! `FANFARE_SOAK_SEED` repeats a run's faults, `FANFARE_SOAK_SECONDS` sets another length. An odd seed is
//! played behind `HAProxy`, an even one behind nginx.

use std::time::Duration;

use fanfare_soak::scenario::Scenario;
use fanfare_testkit::balancer::Kind;

use crate::form::{Form, is_long};
use crate::roll::leaves_soon;
use crate::stage::{Stage, assert_passed};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn nothing_is_lost_in_a_storm_of_random_faults() {
    let mut form = Form::of(Scenario::Random);
    form.options.seed = number("FANFARE_SOAK_SEED").unwrap_or(form.options.seed);
    let kind = if form.options.seed.is_multiple_of(2) { Kind::Nginx } else { Kind::Haproxy };
    let mut stage = Stage::behind(kind, leaves_soon).await;
    let seconds = number("FANFARE_SOAK_SECONDS").unwrap_or(if is_long() { 3600 } else { 180 });
    form.options.duration = Duration::from_secs(seconds);
    form.mix = "fcall:2,xadd:1,http:1";
    (form.options.fault, form.options.stalled) = (Duration::from_secs(6), 200);
    println!("seed {} behind {kind:?}", form.options.seed);
    let report = stage.play(Scenario::Random, &form).await;
    assert_passed(&report);
}
