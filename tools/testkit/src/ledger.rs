//! What was accepted against what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use crate::client::{Client, Received, Step};

/// What publishers know: the events of each channel, numbered in the order they were published.
///
/// An event's text is `<channel>#<number>`, which stands at the beginning of its data. Per channel one publisher at a
/// time draws, publishes and reports, so that the numbers are the order.
#[derive(Debug, Default)]
pub struct Ledger {
    channels: Mutex<BTreeMap<String, Series>>,
}

#[derive(Debug, Default)]
struct Series {
    drawn: u64,
    accepted: BTreeSet<u64>,
    /// Those of which the publisher does not know: they may arrive, once.
    uncertain: BTreeSet<u64>,
}

/// What one client got of the channels it follows, from some moment on.
#[derive(Clone, Debug)]
pub struct Account {
    /// For each channel the number after which it counts, and what came, in order.
    got: BTreeMap<String, (u64, Vec<u64>)>,
    /// What came and is no event of these channels.
    foreign: Vec<String>,
    /// The `gap` events that came.
    gaps: Vec<String>,
    /// How many different events came.
    count: usize,
}

/// What is wrong with an account. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Accepted and not arrived.
    pub lost: Vec<String>,
    /// Arrived more than once.
    pub duplicated: Vec<String>,
    /// Arrived after a later one.
    pub out_of_order: Vec<String>,
    /// Received, although its publication was not confirmed, it precedes the start position, or its channel is not subscribed.
    pub foreign: Vec<String>,
    /// The `gap` events, which tell of a loss: also wrong when nothing was lost.
    pub gaps: Vec<String>,
}

impl Ledger {
    /// The text of a channel's next event.
    pub fn draw(&self, channel: &str) -> String {
        let mut channels = self.lock();
        let series = channels.entry(channel.to_owned()).or_default();
        series.drawn += 1;
        format!("{channel}#{}", series.drawn)
    }

    /// An event that was drawn is accepted.
    pub fn accept(&self, text: &str) {
        self.note(text, |series, number| {
            series.uncertain.remove(&number);
            series.accepted.insert(number);
        });
    }

    /// An event was numbered, and the outcome of its publication is unknown.
    pub fn doubt(&self, text: &str) {
        self.note(text, |series, number| {
            series.uncertain.insert(number);
        });
    }

    fn note(&self, text: &str, note: impl FnOnce(&mut Series, u64)) {
        let (channel, number) = split(text).unwrap_or_else(|| panic!("not drawn here: {text:?}"));
        note(self.lock().entry(channel.to_owned()).or_default(), number);
    }

    /// Opens an account for a client that follows these channels from now on.
    pub fn account(&self, channels: &[impl AsRef<str>]) -> Account {
        let known = self.lock();
        let entry = |channel: &str| {
            let drawn = known.get(channel).map_or(0, |series| series.drawn);
            (channel.to_owned(), (drawn, Vec::new()))
        };
        let got = channels.iter().map(|channel| entry(channel.as_ref())).collect();
        Account { got, foreign: Vec::new(), gaps: Vec::new(), count: 0 }
    }

    /// Opens an account for a client that has received all of `before` and nothing else of these channels.
    pub fn account_after(&self, channels: &[impl AsRef<str>], before: &[Received]) -> Account {
        let got = channels.iter().map(|channel| (channel.as_ref().to_owned(), (0, Vec::new()))).collect();
        let mut account = Account { got, foreign: Vec::new(), gaps: Vec::new(), count: 0 };
        for event in before {
            if let Some((channel, number)) = split(text_of(event))
                && let Some((after, _)) = account.got.get_mut(channel)
            {
                *after = number.max(*after);
            }
        }
        account
    }

    /// How many events were accepted that belong into an account.
    pub fn expected(&self, account: &Account) -> usize {
        let known = self.lock();
        let accepted = account.got.iter().map(|(channel, (after, _))| {
            known.get(channel).map_or(0, |series| series.accepted.range(after + 1..).count())
        });
        accepted.sum()
    }

    /// What is wrong with an account.
    pub fn judge(&self, account: &Account) -> Verdict {
        let known = self.lock();
        let empty = Series::default();
        let mut verdict = Verdict::default();
        verdict.foreign.clone_from(&account.foreign);
        verdict.gaps.clone_from(&account.gaps);
        for (channel, (after, got)) in &account.got {
            let series = known.get(channel).unwrap_or(&empty);
            let name = |number: &u64| format!("{channel}#{number}");
            let mut arrived = BTreeSet::new();
            for number in got {
                let latest = arrived.last().copied();
                if !arrived.insert(*number) {
                    verdict.duplicated.push(name(number));
                } else if latest.is_some_and(|latest| latest > *number) {
                    verdict.out_of_order.push(name(number));
                }
                let known = series.accepted.contains(number) || series.uncertain.contains(number);
                if !known || number <= after {
                    verdict.foreign.push(name(number));
                }
            }
            let due = series.accepted.range(after + 1..);
            verdict.lost.extend(due.filter(|number| !arrived.contains(number)).map(name));
        }
        verdict
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Series>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event's text: what its data begins with, up to the first space.
fn text_of(event: &Received) -> &str {
    event.data.split(' ').next().unwrap_or_default()
}

fn split(text: &str) -> Option<(&str, u64)> {
    let (channel, number) = text.rsplit_once('#')?;
    Some((channel, number.parse().ok()?))
}

impl Account {
    /// This and what another account says of other channels.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.got.extend(other.got);
        self
    }

    /// Takes what the client received next. Control events but `gap` do not count.
    pub fn note(&mut self, event: &Received) {
        if event.kind == "gap" {
            self.gaps.push(event.data.to_string());
        } else if !event.is_control() {
            self.note_text(text_of(event));
        }
    }

    /// Reads a client until as many events have come as were accepted.
    ///
    /// # Panics
    ///
    /// When that is not so within `limit`, or the stream ends before.
    pub async fn follow(&mut self, client: &mut Client, ledger: &Ledger, limit: Duration) {
        let deadline = Instant::now() + limit;
        let due = ledger.expected(self);
        while self.count < due {
            match client.step(deadline.saturating_duration_since(Instant::now())).await {
                Step::Event(event) => self.note(&event),
                other => panic!(
                    "{} of {due}, then {other:?}: {}\n{}",
                    self.count,
                    ledger.judge(self),
                    client.story()
                ),
            }
        }
    }

    fn note_text(&mut self, text: &str) {
        match split(text).and_then(|(channel, number)| Some((self.got.get_mut(channel)?, number))) {
            Some(((_, got), number)) => {
                self.count += usize::from(got.last() != Some(&number));
                got.push(number);
            }
            None => self.foreign.push(text.to_owned()),
        }
    }

    /// How many events came; one that came twice in a row is counted once.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Verdict {
    /// Checks that nothing is wrong.
    ///
    /// # Panics
    ///
    /// When something is.
    pub fn assert_clean(&self) {
        assert!(*self == Self::default(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("out of order", &self.out_of_order),
            ("foreign", &self.foreign),
            ("gaps", &self.gaps),
        ];
        for (name, events) in parts {
            let first = &events[..events.len().min(8)];
            write!(
                f,
                "{name} {}{} ",
                events.len(),
                if first.is_empty() { String::new() } else { format!(" {first:?}") }
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_whole_account_is_clean() {
        let ledger = Ledger::default();
        let before = ledger.draw("a");
        ledger.accept(&before);
        let mut account = ledger.account(&["a", "b"]);
        for text in ["a", "b", "a"].map(|channel| ledger.draw(channel)) {
            ledger.accept(&text);
            account.note_text(&text);
        }
        assert_eq!((ledger.expected(&account), account.count()), (3, 3));
        ledger.judge(&account).assert_clean();
    }

    #[test]
    fn each_fault_is_found_and_named() {
        let ledger = Ledger::default();
        let mut account = ledger.account(&["a"]);
        for _ in 0..5 {
            ledger.accept(&ledger.draw("a"));
        }
        let doubtful = ledger.draw("a");
        ledger.doubt(&doubtful);
        for text in ["a#1", "a#4", "a#3", "a#4", "a#6", "a#9", "b#1", "nonsense"] {
            account.note_text(text);
        }
        let verdict = ledger.judge(&account);
        assert_eq!(verdict.lost, texts(&["a#2", "a#5"]));
        assert_eq!(verdict.duplicated, texts(&["a#4"]));
        assert_eq!(verdict.out_of_order, texts(&["a#3"]));
        assert_eq!(verdict.foreign, texts(&["b#1", "nonsense", "a#9"]));
    }

    #[test]
    #[should_panic(expected = "lost 1 [\"a#1\"]")]
    fn a_loss_is_reported() {
        let ledger = Ledger::default();
        let account = ledger.account(&["a"]);
        ledger.accept(&ledger.draw("a"));
        ledger.judge(&account).assert_clean();
    }

    #[test]
    fn what_came_from_before_is_foreign() {
        let ledger = Ledger::default();
        ledger.accept(&ledger.draw("a"));
        let mut account = ledger.account(&["a"]);
        account.note_text("a#1");
        assert_eq!(ledger.judge(&account).foreign, texts(&["a#1"]));
    }
}
