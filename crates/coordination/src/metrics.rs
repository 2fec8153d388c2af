//! Metrics of sessions, the node's lease and the intake.

use std::sync::atomic::AtomicU64;

use fanfare_broker::lease::Swept;
use fanfare_telemetry::{Throttle, registered};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of coordination in the cluster. Every series exists from the start, so that rates can be computed.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// Sessions owned by this node whose streams are open.
    pub(crate) sessions_held: Gauge,
    /// Sessions that this node is releasing.
    pub(crate) sessions_releasing: Gauge,
    /// Claims granted.
    pub(crate) claims_held: Counter,
    /// Claims refused because the user has too many sessions.
    pub(crate) claims_full: Counter,
    /// Claims refused because the node has no lease, or is draining.
    pub(crate) claims_shut: Counter,
    /// Claims whose outcome is unknown because the broker did not answer.
    pub(crate) claims_failed: Counter,
    /// Sessions released.
    pub(crate) releases_done: Counter,
    /// Sessions that another claim had taken before they were released.
    pub(crate) releases_stale: Counter,
    /// Releases refused by the broker: the sessions stay recorded until an operator fixes the cause.
    pub(crate) releases_refused: Counter,
    /// Releases that failed and are retried.
    pub(crate) releases_retried: Counter,
    /// Sessions confirmed or claimed again after the lease expired or the subscriber connection was lost.
    pub(crate) renewals_held: Counter,
    /// Sessions that another claim had taken meanwhile.
    pub(crate) renewals_lost: Counter,
    /// Sessions whose renewal the broker refused.
    pub(crate) renewals_refused: Counter,
    /// Batches of renewals that failed and are retried.
    pub(crate) renewals_retried: Counter,
    /// Uncertain claims that had not been carried out.
    pub(crate) uncertain_clear: Counter,
    /// Uncertain claims that had been carried out: released, or adopted by the open stream.
    pub(crate) uncertain_reconciled: Counter,
    /// Uncertain claims dropped because there were too many.
    pub(crate) uncertain_dropped: Counter,
    /// 1 while the node's lease is held.
    pub(crate) lease_held: Gauge,
    /// Heartbeats that renewed the lease.
    pub(crate) heartbeats_renewed: Counter,
    /// Heartbeats that acquired the lease: the first, and those after the lease expired.
    pub(crate) heartbeats_acquired: Counter,
    /// Heartbeats that found another process with the same node id.
    pub(crate) heartbeats_foreign: Counter,
    /// Heartbeats that failed.
    pub(crate) heartbeats_failed: Counter,
    /// Failures to load the Redis function library.
    pub(crate) function_load_failures: Counter,
    /// Sessions of dead nodes that this node removed.
    pub(crate) swept: Counter,
    /// Users that this node checked because their grace period was over.
    pub(crate) departed: Counter,
    /// Members of session sets that no node wrote.
    pub(crate) swept_malformed: Counter,
    /// Sweeps that failed.
    pub(crate) sweeps_failed: Counter,
    /// Commands to drop a session that moved.
    pub(crate) controls_supersede: Counter,
    /// Such commands that were older than this node's claim.
    pub(crate) controls_stale: Counter,
    /// Commands to disconnect a session.
    pub(crate) controls_disconnect: Counter,
    /// Commands to replace the token of a session's stream.
    pub(crate) controls_replace_token: Counter,
    /// Commands to read the log of revocations.
    pub(crate) controls_read_revocations: Counter,
    /// Malformed messages on the control topic.
    pub(crate) controls_malformed: Counter,
    /// `fanfare_control_dropped_total`: commands dropped because too many waited.
    pub(crate) controls_dropped: Counter,
    /// 1 while this node leads the intake.
    pub intake_leader: Gauge,
    /// Age in seconds of the oldest entry at the last read; 0 if there was none.
    pub(crate) intake_lag: Gauge<f64, AtomicU64>,
    /// Entries stored in their channel's log.
    pub(crate) intake_done: Counter,
    /// Entries that were in the log already.
    pub(crate) intake_repeat: Counter,
    /// Entries that can never be published.
    pub(crate) intake_dead: Counter,
    /// Entries dropped because the time of their field `until` was over.
    pub(crate) intake_late: Counter,
    /// Attempts to publish an entry that failed and are retried.
    pub(crate) intake_retried: Counter,
    /// Failed calls to acquire or renew the leadership.
    pub(crate) intake_lead_failed: Counter,
    /// Failed calls to read entries.
    pub(crate) intake_fetch_failed: Counter,
    /// Failed calls to acknowledge entries.
    pub(crate) intake_acknowledge_failed: Counter,
    /// Failed calls to move entries to the dead-letter stream.
    pub(crate) intake_reject_failed: Counter,
    /// Failed calls to replace a stream whose ids are far ahead of the clock.
    pub(crate) intake_reset_failed: Counter,
    /// Times the ingest stream was replaced, because its ids were far ahead of the clock.
    pub(crate) intake_resets: Counter,
    /// Times the leadership was lost while entries were in progress.
    pub(crate) intake_lead_lost: Counter,
}

/// A family with one label.
type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

fn labelled(registry: &mut Registry, name: &str, help: &str) -> Labelled {
    registered(registry, name, help)
}

impl ClusterMetrics {
    /// Counts the result of one sweep step. Logs members that no node wrote.
    pub(crate) fn count_swept(&self, step: &Swept) {
        static LOG: Throttle = Throttle::of_a_condition();
        if step.malformed > 0
            && let Some(held_back) = LOG.admit()
        {
            let members = step.malformed;
            tracing::warn!(members, held_back, "removed members of session sets that no node wrote");
        }
        self.swept.inc_by(step.sessions as u64);
        self.departed.inc_by(step.users as u64);
        self.swept_malformed.inc_by(step.malformed as u64);
        self.sweeps_failed.inc_by(u64::from(step.fault.is_some()));
    }

    /// Creates and registers the metrics.
    #[expect(clippy::too_many_lines, reason = "one or a few for each metric")]
    pub fn register(registry: &mut Registry) -> Self {
        let claims = labelled(registry, "fanfare_session_claims", "Session claims, by outcome");
        let releases = labelled(registry, "fanfare_session_releases", "Session releases, by outcome");
        let renewals = labelled(registry, "fanfare_session_renewals", "Session renewals, by outcome");
        let uncertain =
            labelled(registry, "fanfare_claims_uncertain", "Uncertain claims reconciled, by outcome");
        let heartbeats = labelled(registry, "fanfare_heartbeats", "Heartbeats of the lease, by outcome");
        let controls = labelled(registry, "fanfare_control_messages", "Control messages received, by kind");
        let entries = labelled(registry, "fanfare_intake_entries", "Intake entries handled, by outcome");
        let failures = labelled(registry, "fanfare_intake_failures", "Failed calls of the intake, by call");
        let outcome = |family: &Labelled, name| family.get_or_create_owned(&[("outcome", name)]);
        let kind = |name| controls.get_or_create_owned(&[("kind", name)]);
        let call = |name| failures.get_or_create_owned(&[("call", name)]);
        Self {
            sessions_held: registered(
                registry,
                "fanfare_sessions_held",
                "Sessions owned by this node whose streams are open",
            ),
            sessions_releasing: registered(registry, "fanfare_sessions_releasing", "Sessions being released"),
            claims_held: outcome(&claims, "held"),
            claims_full: outcome(&claims, "full"),
            claims_shut: outcome(&claims, "shut"),
            claims_failed: outcome(&claims, "failed"),
            releases_done: outcome(&releases, "done"),
            releases_stale: outcome(&releases, "stale"),
            releases_refused: outcome(&releases, "refused"),
            releases_retried: outcome(&releases, "retried"),
            renewals_held: outcome(&renewals, "held"),
            renewals_lost: outcome(&renewals, "lost"),
            renewals_refused: outcome(&renewals, "refused"),
            renewals_retried: outcome(&renewals, "retried"),
            uncertain_clear: outcome(&uncertain, "clear"),
            uncertain_reconciled: outcome(&uncertain, "reconciled"),
            uncertain_dropped: outcome(&uncertain, "dropped"),
            lease_held: registered(registry, "fanfare_lease_held", "Whether the node's lease is held"),
            heartbeats_renewed: outcome(&heartbeats, "renewed"),
            heartbeats_acquired: outcome(&heartbeats, "acquired"),
            heartbeats_foreign: outcome(&heartbeats, "foreign"),
            heartbeats_failed: outcome(&heartbeats, "failed"),
            function_load_failures: registered(
                registry,
                "fanfare_function_load_failures",
                "Failures to load the Redis function library",
            ),
            swept: registered(
                registry,
                "fanfare_sessions_swept",
                "Sessions of dead nodes removed by this node",
            ),
            departed: registered(
                registry,
                "fanfare_users_departed",
                "Users without a session whose grace period was over when this node checked",
            ),
            swept_malformed: registered(
                registry,
                "fanfare_sweep_malformed",
                "Members of sets of sessions and users that no node wrote, removed by this node",
            ),
            sweeps_failed: registered(registry, "fanfare_sweep_failures", "Sweeps that failed"),
            controls_supersede: kind("supersede"),
            controls_stale: kind("stale"),
            controls_disconnect: kind("disconnect"),
            controls_replace_token: kind("replace-token"),
            controls_read_revocations: kind("read-revocations"),
            controls_malformed: kind("malformed"),
            controls_dropped: registered(
                registry,
                "fanfare_control_dropped",
                "Control commands dropped because the queue was full",
            ),
            intake_leader: registered(
                registry,
                "fanfare_intake_leader",
                "Whether this node leads the intake",
            ),
            intake_lag: registered(
                registry,
                "fanfare_intake_lag_seconds",
                "Age of the oldest intake entry at the last read",
            ),
            intake_done: outcome(&entries, "done"),
            intake_repeat: outcome(&entries, "repeat"),
            intake_dead: outcome(&entries, "dead"),
            intake_late: outcome(&entries, "late"),
            intake_retried: outcome(&entries, "retried"),
            intake_lead_failed: call("lead"),
            intake_fetch_failed: call("fetch"),
            intake_acknowledge_failed: call("acknowledge"),
            intake_reject_failed: call("reject"),
            intake_reset_failed: call("reset"),
            intake_resets: registered(
                registry,
                "fanfare_intake_resets",
                "Times the ingest stream was replaced because its ids were far ahead of the clock",
            ),
            intake_lead_lost: registered(
                registry,
                "fanfare_intake_lead_lost",
                "Times the leadership was lost while entries were in progress",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let mut registry = Registry::default();
        let metrics = ClusterMetrics::register(&mut registry);
        metrics.claims_held.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"fanfare_session_claims_total{outcome="held"} 1"#,
            r#"fanfare_session_releases_total{outcome="stale"} 0"#,
            r#"fanfare_intake_entries_total{outcome="dead"} 0"#,
            r#"fanfare_control_messages_total{kind="malformed"} 0"#,
            "fanfare_sessions_swept_total 0",
            "fanfare_users_departed_total 0",
            "fanfare_lease_held 0",
            "fanfare_intake_lag_seconds 0.0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
