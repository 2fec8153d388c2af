//! What was published against what one client printed.

use crate::catalog::Entry;
use crate::message::Message;
use crate::program::Program;

/// One client, and what its library gave it.
pub(crate) struct Account {
    /// The client's name and user.
    pub(crate) name: &'static str,
    /// None once it has ended, which none may.
    program: Option<Program>,
    /// How far its output was read.
    place: usize,
    /// All that came, in order.
    messages: Vec<Message>,
    /// How many of them came before this scene.
    before: usize,
    /// What was wrong, with the scene.
    faults: Vec<String>,
    /// Something did not come in this scene: what follows in it is not waited for.
    is_out: bool,
}

impl Account {
    /// Starts the client.
    pub(crate) fn open(entry: &Entry, url: &str) -> Self {
        let url = format!("{url}/v1/events?user={}&channel={SHORT}", entry.name);
        let program = Some(Program::start(&entry.command(&url)));
        let messages = Vec::new();
        Self { name: entry.name, program, place: 0, messages, before: 0, faults: Vec::new(), is_out: false }
    }

    /// Its user's channel.
    pub(crate) fn channel(&self) -> String {
        format!("user:{}", self.name)
    }

    /// A new scene begins: [`Self::so_far`] is of that.
    pub(crate) fn begin(&mut self) {
        self.before = self.messages.len();
        self.is_out = false;
    }

    /// What came in this scene.
    pub(crate) fn so_far(&self) -> &[Message] {
        &self.messages[self.before..]
    }

    /// Everything that came.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Whether this client is waited for: it runs, and nothing that it should have had in this scene is missing.
    pub(crate) fn takes_part(&self) -> bool {
        self.program.is_some() && !self.is_out
    }

    /// Takes what the program has printed meanwhile.
    pub(crate) fn read(&mut self, scene: &str) {
        let Some(program) = &mut self.program else { return };
        let ended = program.ended();
        let (lines, place) = program.lines_from(self.place);
        self.place = place;
        for line in lines {
            match Message::read(&line) {
                Ok(message) => self.messages.push(message),
                Err(why) => self.faults.push(format!("{scene}: {why}")),
            }
        }
        if let Some(status) = ended {
            self.faults.push(format!("{scene}: the client ended with {status}: {}", program.errors()));
            self.program = None;
        }
    }

    /// Notes that something did not come.
    pub(crate) fn blame(&mut self, fault: String) {
        self.is_out = true;
        self.faults.push(fault);
    }

    /// The numbers of a channel that came, in the order in which they did.
    pub(crate) fn numbers(&self, wanted: &str) -> Vec<u64> {
        let number = |message: &Message| match message {
            Message::Numbered { channel, number } if channel == wanted => Some(*number),
            _ => None,
        };
        self.messages.iter().filter_map(number).collect()
    }

    /// How many messages of this scene are such.
    pub(crate) fn count(&self, is: impl Fn(&Message) -> bool) -> usize {
        self.so_far().iter().filter(|message| is(message)).count()
    }

    /// What was wrong with it, and the end of what it said on standard error.
    pub(crate) fn faults(&self) -> Option<String> {
        let errors = self.program.as_ref().map(Program::errors).unwrap_or_default();
        let faults = &self.faults[..self.faults.len().min(MAX_FAULTS)];
        (!faults.is_empty()).then(|| format!("{}:\n  {}\n{errors}", self.name, faults.join("\n  ")))
    }

    /// Stops the client.
    pub(crate) async fn close(self) {
        if let Some(program) = self.program {
            program.stop().await;
        }
    }
}

/// The channel whose events are not kept for long.
pub(crate) const SHORT: &str = "short:lived";

/// How many faults of one client are shown.
const MAX_FAULTS: usize = 12;
