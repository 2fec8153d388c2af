//! Checks of Redis: the table of settings in `docs/operations.md`, the clock, and the rights of the user.

use fanfare_broker::BrokerError;
use fanfare_broker::redis::{Inspection, RedisBroker};
use fanfare_config::Config;

use super::finding::Finding;

/// Least `client-output-buffer-limit pubsub`: hard and soft limit, in bytes.
const PUBSUB_BUFFER: [u64; 2] = [64 << 20, 16 << 20];
/// Greatest difference of the clocks, in milliseconds, beside the round trip in which Redis was asked.
const CLOCKS_MS: u64 = 1000;

/// Checks Redis.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "redis";
    let Some(settings) = config.redis.settings() else {
        let found = "redis.url is not set: a node keeps everything in its own memory, and loses it on exit";
        return vec![Finding::unknown(CHECK, found)];
    };
    let address = settings.address();
    match RedisBroker::inspect(&settings).await {
        Ok(found) => {
            let version = found.version.as_deref().unwrap_or("an unknown version");
            let mut findings = vec![Finding::ok(CHECK, format!("{address} has version {version}"))];
            findings.extend(of(&found));
            findings
        }
        Err(BrokerError::Condition { condition, detail }) => {
            vec![Finding::wrong(CHECK, format!("{address}: {condition} ({detail})"), condition.remedy())]
        }
        Err(error) => {
            let advice =
                "start Redis, or correct redis.url; a firewall may be between this machine and Redis";
            vec![Finding::wrong(CHECK, format!("{address}: {error}"), advice)]
        }
    }
}

fn of(found: &Inspection) -> Vec<Finding> {
    vec![
        of_setting("maxmemory-policy", found.eviction.as_deref(), |policy| {
            let advice = "CONFIG SET maxmemory-policy noeviction, and in redis.conf: with any other policy, Redis removes logs \
                         and sessions";
            (*policy == "noeviction", (*policy).to_owned(), advice)
        }),
        of_setting("maxmemory", found.max_memory, |most| {
            let found = if *most == 0 { "no limit".to_owned() } else { format!("{most} bytes") };
            (
                *most > 0,
                found,
                "set maxmemory below the memory of the machine: without it, the kernel ends Redis when memory is short",
            )
        }),
        of_setting("appendonly", found.append_only, |on| {
            let found = if *on { "yes" } else { "no" };
            (
                *on,
                found.to_owned(),
                "CONFIG SET appendonly yes, and in redis.conf: otherwise a restart of Redis loses accepted events",
            )
        }),
        of_setting("pubsub buffer limit", found.pubsub_buffer, |limit| {
            let [hard, soft, seconds] = *limit;
            let is_enough = |(limit, least): (u64, u64)| limit == 0 || limit >= least;
            let holds = [hard, soft].into_iter().zip(PUBSUB_BUFFER).all(is_enough);
            let advice = "CONFIG SET client-output-buffer-limit \"pubsub 64mb 16mb 60\", and in redis.conf: otherwise Redis \
                         disconnects a node that is slow for a moment";
            (holds, format!("{hard} bytes, and {soft} bytes for {seconds} s"), advice)
        }),
        of_setting("idle timeout", found.timeout, |seconds| {
            let found = if *seconds == 0 { "none".to_owned() } else { format!("{seconds} s") };
            (
                *seconds == 0,
                found,
                "CONFIG SET timeout 0, and in redis.conf: subscriber connections may be silent",
            )
        }),
        clock(found),
        rights(found),
    ]
}

/// Returns the finding of a setting, if the user may read it. `judge` says whether the value is right, how it is shown, and what to
/// do if it is wrong.
fn of_setting<T>(
    check: &'static str,
    value: Option<T>,
    judge: impl FnOnce(&T) -> (bool, String, &'static str),
) -> Finding {
    let Some(value) = value else {
        return Finding::unknown(check, "the Redis user may not read it (CONFIG GET)");
    };
    let (holds, found, advice) = judge(&value);
    Finding::when(holds, check, found, advice)
}

fn clock(found: &Inspection) -> Finding {
    const CHECK: &str = "clock of redis";
    let Some(ahead) = found.clock_ahead_ms else {
        return Finding::unknown(CHECK, "the Redis user may not read it (TIME)");
    };
    let trip = u64::try_from(found.latency.as_millis()).unwrap_or(u64::MAX);
    let shown = match ahead {
        0 => "the same time as here".to_owned(),
        1.. => format!("{ahead} ms ahead of this machine (measured within {trip} ms)"),
        _ => format!("{} ms behind this machine (measured within {trip} ms)", ahead.unsigned_abs()),
    };
    let advice = "synchronize both clocks (chrony, systemd-timesyncd): positions and times have the clock of Redis, tokens that \
                 of nodes";
    Finding::when(ahead.unsigned_abs() <= CLOCKS_MS.saturating_add(trip), CHECK, shown, advice)
}

fn rights(found: &Inspection) -> Finding {
    const CHECK: &str = "rights in redis";
    if found.denied.is_empty() {
        return Finding::ok(CHECK, "the user may do what a node does");
    }
    let denied = found.denied.join(" ");
    Finding::wrong(
        CHECK,
        format!("the user lacks {denied}"),
        format!("ACL SETUSER <user of redis.url> {denied}"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Outcome;

    #[test]
    fn clocks_may_differ_by_a_second_and_the_latency() {
        let outcome = |ahead: i64, trip: u64| {
            let latency = Duration::from_millis(trip);
            clock(&Inspection { clock_ahead_ms: Some(ahead), latency, ..Inspection::default() }).outcome
        };
        assert_eq!([outcome(0, 0), outcome(-1000, 0), outcome(1400, 400)], [Outcome::Ok; 3]);
        assert_eq!([outcome(1001, 0), outcome(-5000, 400)], [Outcome::Wrong; 2]);
        assert_eq!(clock(&Inspection::default()).outcome, Outcome::Unknown);
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        let outcome =
            |limit| of(&Inspection { pubsub_buffer: Some(limit), ..Inspection::default() })[3].outcome;
        assert_eq!([outcome([0, 0, 0]), outcome([64 << 20, 16 << 20, 60])], [Outcome::Ok; 2]);
        assert_eq!([outcome([32 << 20, 8 << 20, 60]), outcome([0, 8 << 20, 60])], [Outcome::Wrong; 2]);
    }
}
