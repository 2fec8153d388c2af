//! The verdict on a run, as a table and as JSON.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use crate::client::ClientRecord;
use crate::counts::Counts;
use crate::ledger::Ledger;
use crate::phase::Summary;
use fanfare_testkit::received::Faults;

/// How many clients with faults are named.
const NAMED: usize = 20;

/// Report of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What the names of the run's users and channels have in common.
    pub run: String,
    /// Whether every client got everything once and in order, none gave up, and nothing else is noted.
    pub passed: bool,
    /// How many clients were judged.
    pub clients: usize,
    /// Events accepted.
    pub published: u64,
    /// Attempts to publish that failed; each was repeated.
    pub publish_errors: u64,
    /// Events whose outcome is not known.
    pub unknown: u64,
    /// Deliveries that were due for what was accepted.
    pub due: u64,
    /// Deliveries that came, each counted once.
    pub received: u64,
    /// Of all clients together.
    pub faults: Faults,
    /// How many clients gave up for good.
    pub given_up: usize,
    /// Why they did, and how many.
    pub given_up_on: BTreeMap<String, usize>,
    /// Of all clients together.
    #[serde(flatten)]
    pub counts: Counts,
    /// Lifecycle events of the run's users; empty without Redis.
    pub lifecycle: BTreeMap<String, u64>,
    /// What else is wrong.
    pub notes: Vec<String>,
    /// Each stretch of the run.
    pub phases: Vec<Summary>,
    /// The first clients with faults of their own.
    pub clients_with_faults: Vec<ClientFaults>,
}

/// One client with faults.
#[derive(Clone, Debug, Serialize)]
pub struct ClientFaults {
    /// Its number.
    pub client: usize,
    /// What is wrong.
    #[serde(flatten)]
    pub faults: Faults,
    /// Why it gave up.
    pub gave_up: Option<String>,
}

impl Report {
    /// Creates a report with the judgement of every client. The rest is to be filled in.
    pub(crate) fn judge(scenario: String, run: String, records: &[ClientRecord], ledger: &Ledger) -> Self {
        let mut report = Self {
            scenario,
            run,
            passed: false,
            clients: records.len(),
            published: ledger.total(),
            publish_errors: 0,
            unknown: ledger.unknown(),
            due: ledger.due(),
            received: 0,
            faults: Faults::default(),
            given_up: 0,
            given_up_on: BTreeMap::new(),
            counts: Counts::default(),
            lifecycle: BTreeMap::new(),
            notes: Vec::new(),
            phases: Vec::new(),
            clients_with_faults: Vec::new(),
        };
        for (client, record) in records.iter().enumerate() {
            report.add(client, record, record.received.judge(|channel| ledger.accepted(channel)));
        }
        report
    }

    fn add(&mut self, client: usize, record: &ClientRecord, faults: Faults) {
        self.faults.lost += faults.lost;
        self.faults.duplicated += faults.duplicated;
        self.faults.out_of_order += faults.out_of_order;
        self.counts += record.counts;
        let gave_up = record.gave_up.as_ref().map(ToString::to_string);
        if let Some(why) = &gave_up {
            self.given_up += 1;
            *self.given_up_on.entry(why.clone()).or_default() += 1;
        }
        if self.clients_with_faults.len() < NAMED && (gave_up.is_some() || !faults.is_clean()) {
            self.clients_with_faults.push(ClientFaults { client, faults, gave_up });
        }
    }

    /// Decides whether it passed.
    pub(crate) fn decide(&mut self) {
        let Counts { gaps, misread, .. } = self.counts;
        let complete = gaps == 0 && misread == 0 && self.given_up == 0 && self.unknown == 0;
        self.passed = complete && self.faults.is_clean() && self.notes.is_empty();
    }

    /// Returns the phase of this name, if there is one.
    pub fn phase(&self, label: &str) -> Option<&Summary> {
        self.phases.iter().find(|phase| phase.label == label)
    }

    /// Returns the table.
    pub fn table(&self) -> String {
        let mut table = tabwriter::TabWriter::new(Vec::new()).padding(2);
        // Writing into memory does not fail.
        let _ = self.write(&mut table);
        let bytes = table.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Faults { lost, duplicated, out_of_order } = self.faults;
        let Counts { gaps, overloaded, shutdowns, superseded, misread, ended, broken, failed } = self.counts;
        writeln!(
            out,
            "scenario {} ({}): {}",
            self.scenario,
            self.run,
            if self.passed { "passed" } else { "FAILED" }
        )?;
        writeln!(
            out,
            "clients {}  events {}  deliveries {} of {}  publish errors {}  outcome unknown {}",
            self.clients, self.published, self.received, self.due, self.publish_errors, self.unknown
        )?;
        writeln!(
            out,
            "lost {lost}  duplicated {duplicated}  out of order {out_of_order}  given up {}  gaps {gaps}  misread {misread}",
            self.given_up
        )?;
        writeln!(
            out,
            "streams ended {ended}  broken {broken}  connects failed {failed}  shutdown {shutdowns}  \
             overloaded {overloaded}  superseded {superseded}"
        )?;
        if !self.lifecycle.is_empty() {
            let counts = self.lifecycle.iter().map(|(event, count)| format!("{event} {count}"));
            writeln!(out, "lifecycle: {}", counts.collect::<Vec<_>>().join("  "))?;
        }
        for (why, count) in &self.given_up_on {
            writeln!(out, "given up: {count} for {why}")?;
        }
        for client in &self.clients_with_faults {
            let Faults { lost, duplicated, out_of_order } = client.faults;
            writeln!(
                out,
                "client {}: lost {lost}, duplicated {duplicated}, out of order {out_of_order}{}",
                client.client,
                client.gave_up.as_ref().map_or(String::new(), |why| format!(", gave up: {why}"))
            )?;
        }
        for note in &self.notes {
            writeln!(out, "error: {note}")?;
        }
        for (phase, proof) in
            self.phases.iter().flat_map(|phase| phase.proofs.iter().map(move |p| (phase, p)))
        {
            let verdict = if proof.holds { "shown" } else { "NOT shown" };
            writeln!(out, "{}: {verdict}: {} ({})", phase.label, proof.wanted, proof.found)?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "phase\tseconds\treceived\tdelay p50\tp99\tmax ms\tback\toutage p50\tp90\tp99\tmax ms\treconnects\tpeak"
        )?;
        for phase in &self.phases {
            let Summary { delay, outage, .. } = phase;
            writeln!(
                out,
                "{}\t{:.1}\t{}\t{:.1}\t{:.1}\t{:.1}\t{}\t{:.0}\t{:.0}\t{:.0}\t{:.0}\t{}\t{:.1}",
                phase.label,
                phase.lasted / 1000.0,
                phase.received,
                delay.p50,
                delay.p99,
                delay.max,
                phase.outages,
                outage.p50,
                outage.p90,
                outage.p99,
                outage.max,
                phase.reconnects,
                phase.peak
            )?;
        }
        out.flush()
    }
}
