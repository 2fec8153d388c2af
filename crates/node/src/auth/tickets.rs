//! Tickets: one-time credentials of streams, for clients that cannot set headers.
//!
//! The first use binds a ticket to its session, on whichever node; afterwards it only resumes this session.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_auth::ticket;
use fanfare_broker::clock::ms_of;
use fanfare_broker::credential_store::{NewTicket, TicketRefusal, TicketUse, TicketUsed};
use fanfare_broker::{Broker, BrokerError};
use fanfare_config::Config;
use fanfare_protocol::rights::Rights;
use fanfare_protocol::ticket::{TicketContent, TicketId};
use fanfare_protocol::{Grants, Pattern, SessionId, User};

use super::Bearer;

/// Maximum size of what a ticket allows, in bytes of JSON.
const MAX_CONTENT_BYTES: usize = 4096;

/// Why no ticket was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The client is anonymous.
    #[error("a client without a user gets no ticket")]
    NoUser,
    /// The credential does not grant a pattern.
    #[error("the token does not grant subscribe on {}, so its ticket cannot", .0.as_str())]
    NotGranted(Pattern),
    /// The grants are too long to be stored.
    #[error("the grants have more than {MAX_CONTENT_BYTES} bytes of JSON; name fewer of them in subscribe")]
    TooLong,
    /// The user has too many unused tickets.
    #[error("the user has {0} unused tickets, which is the limit (limits.tickets_per_user)")]
    Full(usize, Duration),
    /// The system has no random numbers.
    #[error("no random numbers")]
    NoRandom,
    /// The broker is unavailable.
    #[error("cannot store a ticket: {0}")]
    Broker(BrokerError),
}

/// Why a ticket is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// It is not a ticket, or it has ended.
    #[error("the ticket is unknown, or its time is over; get a new one")]
    Unknown,
    /// It was used before.
    #[error(
        "the ticket was used before, and only its own stream can be resumed with it (Last-Event-ID); get a new one"
    )]
    Used,
    /// It was used by another session.
    #[error("the ticket belongs to another session than session=; get a new one")]
    OtherSession,
    /// The broker is unavailable.
    #[error("cannot use a ticket: {0}")]
    Broker(BrokerError),
}

impl From<TicketRefusal> for TicketError {
    fn from(refusal: TicketRefusal) -> Self {
        match refusal {
            TicketRefusal::Unknown => Self::Unknown,
            TicketRefusal::Used => Self::Used,
            TicketRefusal::OtherSession => Self::OtherSession,
        }
    }
}

/// A new ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its text, which is stored nowhere.
    pub text: String,
    /// The user.
    pub user: User,
    /// Time in which it must be used first.
    pub life: Duration,
    /// End of its stream, in Unix milliseconds.
    pub expires: u64,
}

/// A ticket that a request of a stream presents.
#[derive(Clone, Debug, PartialEq)]
pub struct Presented {
    /// The user.
    pub user: User,
    /// What it allows.
    pub content: TicketContent,
    /// The session to which it is bound, if it was used.
    pub bound: Option<SessionId>,
    usage: TicketUse,
}

/// A use of a ticket, which can be undone if it is the first.
#[derive(Debug)]
pub struct Opening {
    /// The session of the stream.
    pub session: SessionId,
    first: Option<(User, TicketId, u64)>,
}

/// Makes and accepts tickets. Lives as long as the node.
#[derive(Debug)]
pub struct Tickets {
    broker: Arc<dyn Broker>,
    /// Time in which a ticket must be used first.
    life: Duration,
    /// Longest time for which a ticket's session can be open.
    session: Duration,
    /// Maximum number of tickets of a user.
    limit: usize,
}

impl Tickets {
    /// Creates it from the settings.
    pub fn new(broker: Arc<dyn Broker>, config: &Config) -> Self {
        let (life, session) = (config.auth.ticket_life, config.auth.ticket_session);
        Self { broker, life, session, limit: config.limits.tickets_per_user }
    }

    /// Makes a ticket. `subscribe` are the patterns that it grants; `None` for all of the bearer's.
    ///
    /// # Errors
    ///
    /// Fails if the bearer has no user or lacks a grant, the user has too many tickets, or the broker is unavailable.
    pub async fn issue(
        &self,
        bearer: &Bearer,
        subscribe: Option<Vec<Pattern>>,
        now: SystemTime,
    ) -> Result<Issued, IssueError> {
        let user = bearer.user.clone().ok_or(IssueError::NoUser)?;
        let longest = now + self.session;
        let expires = bearer.expires.map_or(longest, |expires| expires.min(longest));
        let keep = expires.duration_since(now).unwrap_or_default();
        let life = self.life.min(keep);
        let content = TicketContent {
            grants: narrowed(bearer, &user, subscribe)?,
            expires: ms_of(expires),
            stamp: bearer.stamp,
            key: bearer.key.as_ref().map(|key| key.hash.to_string()),
        };
        // A structure of texts and numbers can be written.
        if serde_json::to_string(&content).is_ok_and(|text| text.len() > MAX_CONTENT_BYTES) {
            return Err(IssueError::TooLong);
        }
        let expires = content.expires;
        let (text, id) = ticket::generate(&user).map_err(|_| IssueError::NoRandom)?;
        let ticket = NewTicket { id, content, life, keep, limit: self.limit };
        match self.broker.create_ticket(&user, &ticket).await {
            Ok(true) => Ok(Issued { text, user, life, expires }),
            Ok(false) => Err(IssueError::Full(self.limit, life)),
            Err(error) => Err(IssueError::Broker(error)),
        }
    }

    /// Looks at a ticket, and does not use it. `resumes`: whether the client resumes a stream; `named`: the session that
    /// it named.
    ///
    /// # Errors
    ///
    /// Fails if it is not accepted, or the broker is unavailable.
    pub async fn look(
        &self,
        text: &str,
        resumes: bool,
        named: Option<SessionId>,
    ) -> Result<Presented, TicketError> {
        let (user, id) = ticket::read(text).ok_or(TicketError::Unknown)?;
        let usage = TicketUse { id, resumes, named, binds: None };
        let (content, bound) = match self.broker.use_ticket(&user, &usage).await {
            Ok(TicketUsed::First(content, _)) => (content, None),
            Ok(TicketUsed::Again(content, session)) => (content, Some(session)),
            Ok(TicketUsed::Refused(refusal)) => return Err(refusal.into()),
            Err(error) => return Err(TicketError::Broker(error)),
        };
        Ok(Presented { user, content, bound, usage })
    }

    /// Uses a ticket to open a session; its own, if it has one.
    ///
    /// # Errors
    ///
    /// Fails if another request was first, or the broker is unavailable.
    pub async fn open(&self, ticket: &Presented, session: SessionId) -> Result<Opening, TicketError> {
        let usage = TicketUse { binds: Some(session), ..ticket.usage };
        let user = &ticket.user;
        match self.broker.use_ticket(user, &usage).await {
            Ok(TicketUsed::First(_, opening)) => {
                Ok(Opening { session, first: Some((user.clone(), usage.id, opening)) })
            }
            Ok(TicketUsed::Again(_, session)) => Ok(Opening { session, first: None }),
            Ok(TicketUsed::Refused(refusal)) => Err(refusal.into()),
            Err(error) => Err(TicketError::Broker(error)),
        }
    }

    /// Undoes a first use whose stream was not opened, so that the client can retry. If it fails, the client needs a new
    /// ticket.
    pub async fn undo(&self, opening: Opening) {
        let Some((user, id, opening)) = opening.first else { return };
        if let Err(error) = self.broker.return_ticket(&user, id, opening).await {
            tracing::debug!(%user, %error, "failed to return a ticket");
        }
    }
}

/// Returns the grants of a ticket: what streams need of the bearer's, or less.
fn narrowed(bearer: &Bearer, user: &User, subscribe: Option<Vec<Pattern>>) -> Result<Grants, IssueError> {
    let grants = &bearer.grants;
    let Some(patterns) = subscribe else {
        let admin = if grants.admin.is_admin() { Rights::ADMIN } else { Rights::default() };
        return Ok(Grants { subscribe: grants.subscribe.clone(), admin, ..Grants::default() });
    };
    match patterns.iter().find(|pattern| !grants.covers_subscribe(user, pattern)) {
        Some(pattern) => Err(IssueError::NotGranted(pattern.clone())),
        None => Ok(Grants { subscribe: patterns, ..Grants::default() }),
    }
}
