//! The audit log: refused callers, calls of admins, and what ends streams or takes tokens back; each with who, from where, what and
//! why. The only place that writes it.
//!
//! # Layout
//!
//! - `trail`: who makes a request, and what it did
//! - `action`: what a request asks for
//! - `call`: a request, as the audit log shows it

mod action;
pub(crate) mod call;
pub(crate) mod trail;

use std::fmt;

use axum::response::Response;
use fanfare_api::problem::Code;
use fanfare_broker::NodeId;
use fanfare_protocol::revocation::TokenId;
use fanfare_protocol::rights::Right;
use fanfare_protocol::{Channel, User};
use fanfare_telemetry::{Throttles, registered};
use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use self::action::Action;
use self::call::Call;
use self::trail::{Caller, Notes};
use crate::address::AddressKey;

/// Target of the lines, by which the log tells them from others.
pub const TARGET: &str = "fanfare::audit";

/// Maximum number of users and addresses whose refusals have rates of their own; the others share one.
const SOURCES: usize = 256;
/// Status of a request whose client left before the answer.
const CLIENT_CLOSED: u16 = 499;
/// Maximum number of characters of a reason.
const WHY: usize = 200;

/// What a call did. Noted by calls that end streams, take tokens back, publish or ask for presence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    /// User whose tokens were revoked.
    pub user: Option<User>,
    /// Hash of the revoked token's `jti`.
    pub token: Option<TokenId>,
    /// The user's tokens that were issued before this time were revoked, in seconds since 1970.
    pub before: Option<u64>,
    /// Number of sessions that were disconnected.
    pub disconnected: Option<usize>,
    /// Channel of a single event, or whose presence was asked for.
    pub channel: Option<Channel>,
    /// Number of events, and of those that the caller may not publish.
    pub events: Option<(usize, usize)>,
}

/// Why a caller was refused. An extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Why(String);

impl Why {
    /// Returns the reason of a problem that refuses a caller; `None` for any other problem.
    pub(crate) fn of(code: Code, detail: &str) -> Option<Self> {
        is_refusal(code).then(|| Self(detail.chars().take(WHY).collect()))
    }
}

/// Returns whether a problem refuses the caller, and not only the request.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::NoToken
            | Code::BadToken
            | Code::ExpiredToken
            | Code::RevokedToken
            | Code::BadTicket
            | Code::UsedTicket
            | Code::Unauthenticated
            | Code::NoGrant
            | Code::ForeignOrigin
            | Code::Misdirected
    )
}

/// Who causes a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    User(User),
    Address(AddressKey),
    /// Behind a trusted proxy that names no client.
    Unknown,
}

/// The audit log of a node. Lives as long as the node.
pub struct Audit {
    node: NodeId,
    refusals: Throttles<Source>,
    held_back: Counter,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Audit {
    /// Creates the audit log of a node.
    pub fn new(node: NodeId, registry: &mut Registry) -> Self {
        let name = "fanfare_audit_held_back";
        let held_back = registered(
            registry,
            name,
            "Refusals and failed calls without a line of their own in the audit log",
        );
        Self { node, refusals: Throttles::new(SOURCES), held_back }
    }

    /// Writes what a request did, if that belongs into the audit log.
    pub(crate) fn record(&self, call: &Call, notes: &Notes, response: &Response) {
        let code = response.extensions().get::<Code>().copied();
        let (caller, effect) = (notes.caller.as_ref(), notes.effect.as_ref());
        let refused_events = effect.and_then(|effect| effect.events).is_some_and(|(_, refused)| refused > 0);
        let outcome = match code {
            Some(code) if is_refusal(code) => Outcome::Refused,
            _ if refused_events => Outcome::Refused,
            Some(_) => Outcome::Failed,
            None => Outcome::Ok,
        };
        let action = Action::of(call.method, &call.route);
        if outcome != Outcome::Refused && !caller.is_some_and(|caller| belongs(action, call, caller)) {
            return;
        }
        // A holder of a right has no more room for refusals than others.
        let held_back = if outcome == Outcome::Ok {
            0
        } else if let Some(held_back) = self.refusals.admit(source(call, caller)) {
            held_back
        } else {
            self.held_back.inc();
            return;
        };
        let why = response.extensions().get::<Why>();
        let line = Line { action, outcome, code, why, call, caller, effect, held_back };
        self.write(&line, Some(response.status()));
        let revokes_too =
            action == Action::Disconnect && effect.is_some_and(|effect| effect.before.is_some());
        if revokes_too {
            // The revocation is stored, whatever became of the sessions.
            let line = Line { action: Action::Revoke, outcome: Outcome::Ok, code: None, why: None, ..line };
            self.write(&line, Some(StatusCode::OK));
        }
    }

    /// Writes that a client left before its request had an answer: what it asked for may be done.
    pub(crate) fn record_abandoned(&self, call: &Call, notes: &Notes) {
        let action = Action::of(call.method, &call.route);
        let (caller, effect) = (notes.caller.as_ref(), notes.effect.as_ref());
        if caller.is_some_and(|caller| belongs(action, call, caller)) {
            let (outcome, code, why) = (Outcome::Unknown, None, None);
            let line = Line { action, outcome, code, why, call, caller, effect, held_back: 0 };
            // As of proxies whose client leaves.
            self.write(&line, StatusCode::from_u16(CLIENT_CLOSED).ok());
        }
    }

    /// Writes that a connection was refused before a request.
    pub(crate) fn refuse_connection(&self, call: &Call, why: &str) {
        let Some(held_back) = self.refusals.admit(source(call, None)) else {
            self.held_back.inc();
            return;
        };
        let why = Some(&Why(why.chars().take(WHY).collect()));
        let (action, outcome, code, caller, effect) = (Action::Connect, Outcome::Refused, None, None, None);
        self.write(&Line { action, outcome, code, why, call, caller, effect, held_back }, None);
    }

    fn write(&self, line: &Line<'_>, status: Option<StatusCode>) {
        let Line { action, outcome, code, why, call, caller, effect, held_back } = *line;
        let shown = |text: &dyn fmt::Display| text.to_string();
        let user = caller.and_then(|caller| caller.user.as_ref());
        tracing::info!(
            target: TARGET,
            node = %self.node,
            action = action.as_str(),
            outcome = outcome.as_str(),
            status = status.map(|status| status.as_u16()),
            code = code.map(Code::as_str),
            why = why.map(|Why(why)| why.as_str()),
            user = user.map(User::id),
            credential = caller.map(|caller| caller.credential),
            token = caller.and_then(|caller| caller.token).map(|id| shown(&id)),
            key = caller.and_then(|caller| caller.key.as_deref()),
            address = shown(&call.address),
            peer = call.peer.map(|peer| shown(&peer)),
            listener = call.listener,
            method = Some(call.method).filter(|method| !method.is_empty()),
            route = Some(&*call.route).filter(|route| !route.is_empty()),
            request_id = call.request_id(),
            of_user = call.of_user.as_ref().or(effect.and_then(|effect| effect.user.as_ref())).map(User::id),
            of_session = call.of_session.map(|id| shown(&id)),
            of_entry = call.of_entry.map(|id| shown(&id)),
            of_token = effect.and_then(|effect| effect.token).map(|id| shown(&id)),
            before = effect.and_then(|effect| effect.before),
            disconnected = effect.and_then(|effect| effect.disconnected),
            channel = effect.and_then(|effect| effect.channel.as_ref()).map(Channel::as_str),
            events = effect.and_then(|effect| effect.events).map(|(all, _)| all),
            events_refused = effect.and_then(|effect| effect.events).map(|(_, refused)| refused),
            held_back = (held_back > 0).then_some(held_back),
        );
    }

    /// Writes how many refusals were left out since the last line of each user and address whose refusals are over.
    pub fn tell(&self) {
        self.tell_of(self.refusals.forget());
    }

    /// Writes how many refusals were left out, of all users and addresses.
    pub fn tell_all(&self) {
        self.tell_of(self.refusals.forget_all());
    }

    fn tell_of(&self, sources: Vec<(Option<Source>, u64)>) {
        for (source, held_back) in sources {
            let (user, address) = match &source {
                Some(Source::User(user)) => (Some(user.id()), None),
                Some(Source::Address(address)) => (None, Some(address.to_string())),
                Some(Source::Unknown) | None => (None, None),
            };
            let outcome = Outcome::Refused.as_str();
            tracing::info!(target: TARGET, node = %self.node, action = "held-back", outcome, user, address, held_back);
        }
    }
}

/// A line, without the status.
#[derive(Clone, Copy)]
struct Line<'a> {
    action: Action,
    outcome: Outcome,
    code: Option<Code>,
    why: Option<&'a Why>,
    call: &'a Call,
    caller: Option<&'a Caller>,
    effect: Option<&'a Effect>,
    held_back: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    /// The caller may not do that, or is not known.
    Refused,
    /// It was not done, for another reason.
    Failed,
    /// The client left before the answer.
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Returns whether a call that was not refused belongs into the audit log.
fn belongs(action: Action, call: &Call, caller: &Caller) -> bool {
    match action {
        Action::Disconnect | Action::Revoke | Action::ReplaceToken | Action::Requeue | Action::Drop => true,
        // Users look at their own sessions.
        Action::Look => call.of_user.is_none() || call.of_user != caller.user,
        // By a right that no grant of channels gives. Without tokens, every caller has it.
        Action::Publish => caller.rights.has(Right::Publish) && caller.credential != "none",
        Action::FiniteStream => {
            let is_read = matches!(call.method, "GET" | "HEAD");
            !is_read && caller.rights.has(Right::Publish) && caller.credential != "none"
        }
        // Publishers ask how many follow their channels before they publish.
        Action::Presence => caller.rights.has(Right::Look) && caller.credential != "none",
        Action::Stream | Action::History | Action::Acknowledge | Action::Connect | Action::Other => false,
    }
}

fn source(call: &Call, caller: Option<&Caller>) -> Source {
    match (caller.and_then(|caller| caller.user.clone()), call.address.key()) {
        (Some(user), _) => Source::User(user),
        (None, Some(address)) => Source::Address(address),
        (None, None) => Source::Unknown,
    }
}
