//! Scenarios: faults of a cluster during a run.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use crate::effect::Effect;

/// Delay of each reply of Redis in [`Verb::Delay`].
pub const LATE: Duration = Duration::from_millis(100);

/// An action on a node or on Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Stops it gracefully (SIGTERM), and waits until it has exited.
    Stop,
    /// Kills it (SIGKILL).
    Kill,
    /// Starts it again where it was, with its data, and waits until it is ready.
    Start,
    /// Freezes it (SIGSTOP).
    Pause,
    /// The end of that (SIGCONT).
    Resume,
    /// Cuts a node's connections to Redis silently.
    Cut,
    /// Redis has no memory left: it refuses what writes.
    Fill,
    /// Redis is a replica from now on, as after a failover: it refuses what writes.
    Demote,
    /// Each answer of Redis to a node comes 100 ms later.
    Delay,
    /// The end of all four.
    Mend,
    /// Closes all connections that Redis has.
    Disconnect,
    /// Attacks the cluster for a while. Fails if the attack had no effect.
    Attack,
}

/// Target of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// A node, by its place.
    Node(usize),
    /// Redis.
    Redis,
}

/// One thing that is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The action.
    pub verb: Verb,
    /// Its target.
    pub who: FaultTarget,
}

/// Does things to a cluster. Where it runs, and how, is the implementation's business.
pub trait FaultInjector {
    /// Does it. Ready when it is done: see [`Verb`].
    ///
    /// # Errors
    ///
    /// Fails if it cannot be done: the run ends.
    fn act(&mut self, action: Action) -> impl Future<Output = anyhow::Result<()>>;
}

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// From here on things are counted under this name.
    Phase(String),
    /// Something is done to the cluster.
    Do(Action),
    /// So long nothing is done.
    Wait(Duration),
    /// Until every client has its stream again.
    AwaitReconnects,
    /// The phase must have shown this: the run fails if it has not within a few seconds.
    Require(Effect),
    /// So many more clients have a stream and never read from it: they come, or go.
    Stall(usize),
}

/// A scenario by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing is done.
    Steady,
    /// Every node is drained and comes back, one after another.
    Roll,
    /// Every node is killed and comes back, one after another.
    Kill,
    /// Redis stops and comes back with its data.
    RedisRestart,
    /// The connections to Redis are closed, five times.
    RedisDisconnect,
    /// One node loses its way to Redis for ten seconds.
    Partition,
    /// One node is frozen for longer than its lease.
    Pause,
    /// A thousand more clients stop reading.
    Stall,
    /// Each attack by its name, which takes the place of a node's.
    Attack,
    /// Faults of all kinds, drawn at random.
    Random,
}

/// A name that no scenario has.
#[derive(Debug, thiserror::Error)]
#[error("there is no scenario {0:?}; there are: {names}", names = Scenario::ALL.map(Scenario::name).join(", "))]
pub struct ScenarioError(String);

/// Options of a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// How many nodes there are.
    pub nodes: usize,
    /// The quiet time between one fault and the next, and before the first.
    pub quiet: Duration,
    /// How long a fault lasts that has a length.
    pub fault: Duration,
    /// How long `steady` and `random` last.
    pub duration: Duration,
    /// What `random` draws from: the same faults for the same number.
    pub seed: u64,
    /// How many clients stop reading in `stall`, and in one of the faults of `random`.
    pub stalled: usize,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Steady,
        Self::Roll,
        Self::Kill,
        Self::RedisRestart,
        Self::RedisDisconnect,
        Self::Partition,
        Self::Pause,
        Self::Stall,
        Self::Attack,
        Self::Random,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Roll => "roll",
            Self::Kill => "kill",
            Self::RedisRestart => "redis-restart",
            Self::RedisDisconnect => "redis-disconnect",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::Stall => "stall",
            Self::Attack => "attack",
            Self::Random => "random",
        }
    }

    /// Returns whether no user may be reported offline: no client is disconnected for longer than the grace period.
    pub fn keeps_users_online(self) -> bool {
        matches!(self, Self::Steady | Self::Roll | Self::Stall | Self::Attack)
    }

    /// Returns the default duration of a fault.
    pub fn default_fault(self) -> Duration {
        Duration::from_secs(match self {
            Self::Partition => 10,
            Self::Pause => 15,
            _ => 2,
        })
    }

    /// Returns what is done, in order.
    pub fn steps(self, options: &ScenarioOptions) -> Vec<Step> {
        let ScenarioOptions { nodes, quiet, fault, duration, stalled, .. } = options.clone();
        let mut steps = vec![Step::Phase("before".into()), Step::Wait(quiet)];
        let mut add = |more: Vec<Step>| steps.extend(more);
        match self {
            Self::Steady => add(vec![Step::Phase("steady".into()), Step::Wait(duration)]),
            Self::Roll => (0..nodes).for_each(|node| add(Fault::Roll(node).steps(fault, quiet))),
            Self::Kill => (0..nodes).for_each(|node| add(Fault::Kill(node).steps(fault, quiet))),
            Self::RedisRestart => add(Fault::Restart.steps(fault, quiet)),
            Self::RedisDisconnect => (0..5).for_each(|_| add(Fault::Disconnect.steps(fault, quiet))),
            Self::Partition => add(Fault::Partition(0).steps(fault, quiet)),
            Self::Pause => add(Fault::Pause(0).steps(fault, quiet)),
            Self::Stall => {
                let measured = |label: &str| vec![Step::Phase(label.to_owned()), Step::Wait(duration)];
                add(measured("alone"));
                // The others are measured when the buffers on the way are full.
                add(vec![Step::Phase("filling".into()), Step::Stall(stalled), Step::Wait(3 * duration)]);
                add(measured("beside"));
                add(vec![Step::Require(Effect::Unread(stalled))]);
                add(vec![Step::Phase("leaving".into()), Step::Stall(0), Step::Wait(quiet)]);
                // Once more, to distinguish their effect from that of the machine.
                add(measured("alone again"));
            }
            Self::Attack => (0..nodes).for_each(|attack| {
                add(vec![
                    Step::Phase(format!("attack {attack}")),
                    Step::Do(Action { verb: Verb::Attack, who: FaultTarget::Node(attack) }),
                    Step::AwaitReconnects,
                    Step::Wait(quiet),
                ]);
            }),
            Self::Random => random(options).into_iter().for_each(add),
        }
        steps
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(name: &str) -> Result<Self, ScenarioError> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| ScenarioError(name.to_owned()))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault with its repair.
#[derive(Clone, Copy)]
enum Fault {
    Roll(usize),
    Kill(usize),
    Pause(usize),
    Partition(usize),
    Restart,
    Freeze,
    Fill,
    Demote,
    Delay,
    Disconnect,
    Stall(usize),
}

impl Fault {
    fn steps(self, lasts: Duration, quiet: Duration) -> Vec<Step> {
        let node = |verb, node| Step::Do(Action { verb, who: FaultTarget::Node(node) });
        let redis = |verb| Step::Do(Action { verb, who: FaultTarget::Redis });
        let trouble = |begin, end| vec![redis(begin), Step::Wait(lasts), redis(end)];
        let (label, done) = match self {
            Self::Roll(n) => (format!("node {n} rolls"), vec![node(Verb::Stop, n), node(Verb::Start, n)]),
            Self::Kill(n) => (
                format!("node {n} killed"),
                vec![node(Verb::Kill, n), Step::Wait(lasts), node(Verb::Start, n)],
            ),
            Self::Pause(n) => (
                format!("node {n} frozen"),
                vec![node(Verb::Pause, n), Step::Wait(lasts), node(Verb::Resume, n)],
            ),
            Self::Partition(n) => (
                format!("node {n} cut off"),
                vec![node(Verb::Cut, n), Step::Wait(lasts), node(Verb::Mend, n)],
            ),
            Self::Restart => ("redis restarts".to_owned(), trouble(Verb::Stop, Verb::Start)),
            Self::Freeze => ("redis frozen".to_owned(), trouble(Verb::Pause, Verb::Resume)),
            Self::Fill => ("redis full".to_owned(), trouble(Verb::Fill, Verb::Mend)),
            Self::Demote => ("redis read-only".to_owned(), trouble(Verb::Demote, Verb::Mend)),
            Self::Delay => ("redis slow".to_owned(), trouble(Verb::Delay, Verb::Mend)),
            Self::Disconnect => ("redis disconnects".to_owned(), vec![redis(Verb::Disconnect)]),
            Self::Stall(clients) => (
                format!("{clients} do not read"),
                vec![Step::Stall(clients), Step::Wait(lasts), Step::Stall(0)],
            ),
        };
        let mut steps = vec![Step::Phase(label)];
        steps.extend(done);
        // While its clients are there; else when they are back and what was late has come.
        match self {
            Self::Stall(_) => steps.insert(steps.len() - 1, Step::Require(self.effect(lasts))),
            _ => steps.extend([Step::AwaitReconnects, Step::Require(self.effect(lasts))]),
        }
        steps.push(Step::Wait(quiet));
        steps
    }

    /// Returns its required effect.
    fn effect(self, lasts: Duration) -> Effect {
        match self {
            Self::Roll(_) => Effect::Drained,
            Self::Kill(_) => Effect::Broken,
            // What was published at its beginning comes at its end.
            Self::Pause(_) | Self::Partition(_) => Effect::Late(lasts / 2),
            // Publishers give an attempt up after a while.
            Self::Freeze => Effect::RefusedOrLate(lasts / 2),
            Self::Restart | Self::Fill | Self::Demote | Self::Disconnect => Effect::Refused,
            Self::Delay => Effect::Slow(LATE),
            Self::Stall(clients) => Effect::Unread(clients),
        }
    }

    /// Returns how long it takes, about.
    fn length(self, lasts: Duration, quiet: Duration) -> Duration {
        let waits = self.steps(lasts, quiet).into_iter().map(|step| match step {
            Step::Wait(length) => length,
            // A start, a stop, or clients that come back.
            _ => Duration::from_secs(1),
        });
        waits.sum()
    }
}

/// Faults until the time is up; the same for the same seed, whatever happens.
fn random(options: &ScenarioOptions) -> Vec<Vec<Step>> {
    let mut dice = fastrand::Rng::with_seed(options.seed);
    let (mut all, mut length) = (Vec::new(), Duration::ZERO);
    // The node that went away last: it has no clients until another one goes, so no fault of it would show.
    let mut empty = None;
    while length < options.duration {
        let mut node = dice.usize(0..options.nodes);
        while options.nodes > 1 && Some(node) == empty {
            node = dice.usize(0..options.nodes);
        }
        let fault = match dice.u8(0..16) {
            0..3 => Fault::Roll(node),
            3..6 => Fault::Kill(node),
            6..8 => Fault::Partition(node),
            8 => Fault::Pause(node),
            9 => Fault::Restart,
            10 => Fault::Freeze,
            11 => Fault::Fill,
            12 => Fault::Demote,
            13 => Fault::Delay,
            14 => Fault::Disconnect,
            _ => Fault::Stall(options.stalled),
        };
        if matches!(fault, Fault::Roll(_) | Fault::Kill(_)) {
            empty = Some(node);
        }
        let lasts = options.fault.mul_f64(0.2 + 1.8 * dice.f64());
        let quiet = options.quiet.mul_f64(dice.f64());
        length += fault.length(lasts, quiet);
        all.push(fault.steps(lasts, quiet));
    }
    all
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cut => "cut",
            Self::Fill => "fill",
            Self::Demote => "demote",
            Self::Delay => "delay",
            Self::Mend => "mend",
            Self::Disconnect => "disconnect",
            Self::Attack => "attack",
        })
    }
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Redis => f.write_str("redis"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64) -> ScenarioOptions {
        let second = Duration::from_secs(1);
        ScenarioOptions { nodes: 3, quiet: second, fault: second, duration: 60 * second, seed, stalled: 9 }
    }

    #[test]
    fn every_fault_of_every_scenario_is_repaired() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse::<Scenario>().unwrap(), scenario);
            let count = |steps: &[Step], verbs: &[Verb]| {
                steps
                    .iter()
                    .filter(|step| matches!(step, Step::Do(does) if verbs.contains(&does.verb)))
                    .count()
            };
            let steps = scenario.steps(&options(7));
            for (broken, mended) in [
                (&[Verb::Stop, Verb::Kill][..], Verb::Start),
                (&[Verb::Pause], Verb::Resume),
                (&[Verb::Cut, Verb::Fill, Verb::Demote, Verb::Delay], Verb::Mend),
            ] {
                assert_eq!(count(&steps, broken), count(&steps, &[mended]), "{scenario}");
            }
        }
        assert!("nothing".parse::<Scenario>().unwrap_err().to_string().contains("redis-restart"));
    }

    #[test]
    fn every_fault_must_show_that_it_happened() {
        let hour = ScenarioOptions { duration: Duration::from_hours(1), ..options(7) };
        // The command of an attack fails if it had no effect: clients must not see one.
        for scenario in Scenario::ALL
            .into_iter()
            .filter(|scenario| !matches!(scenario, Scenario::Steady | Scenario::Attack))
        {
            let steps = scenario.steps(&hour);
            let begins = |step: &&Step| match step {
                Step::Do(action) => !matches!(action.verb, Verb::Start | Verb::Resume | Verb::Mend),
                Step::Stall(clients) => *clients > 0,
                _ => false,
            };
            let faults = steps.iter().filter(begins).count();
            let proofs = steps.iter().filter(|step| matches!(step, Step::Require(_))).count();
            assert!(faults > 0 && faults == proofs, "{scenario}: {faults} faults, {proofs} proofs");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let draw = |seed| Scenario::Random.steps(&options(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn no_random_fault_is_of_a_node_that_came_back_without_clients() {
        let hour = ScenarioOptions { duration: Duration::from_hours(1), ..options(7) };
        let mut empty = None;
        for step in Scenario::Random.steps(&hour) {
            let Step::Do(Action { verb, who: FaultTarget::Node(node) }) = step else { continue };
            match verb {
                Verb::Stop | Verb::Kill | Verb::Pause | Verb::Cut => assert_ne!(empty, Some(node), "{verb}"),
                _ => {}
            }
            if matches!(verb, Verb::Stop | Verb::Kill) {
                empty = Some(node);
            }
        }
        assert!(empty.is_some());
    }

    #[test]
    fn an_hour_of_random_faults_has_all_kinds_of_them() {
        let hour = ScenarioOptions { duration: Duration::from_hours(1), ..options(7) };
        let steps = Scenario::Random.steps(&hour);
        for verb in [
            Verb::Stop,
            Verb::Kill,
            Verb::Pause,
            Verb::Cut,
            Verb::Fill,
            Verb::Demote,
            Verb::Delay,
            Verb::Disconnect,
        ] {
            assert!(steps.iter().any(|step| matches!(step, Step::Do(does) if does.verb == verb)), "{verb}");
        }
        assert!(steps.contains(&Step::Stall(9)));
    }
}
