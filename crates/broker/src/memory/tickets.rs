//! Tickets of users.

use std::collections::HashMap;

use fanfare_protocol::ticket::{TicketContent, TicketId};
use fanfare_protocol::{SessionId, User};

use crate::credential_store::{NewTicket, TicketRefusal, TicketUse, TicketUsed};

/// The tickets of all users.
#[derive(Debug, Default)]
pub(super) struct Tickets(HashMap<User, HashMap<TicketId, Ticket>>);

#[derive(Debug)]
struct Ticket {
    content: TicketContent,
    /// Time until which it can be used first, in Unix milliseconds.
    first: u64,
    /// Time until which its session can be reopened, in Unix milliseconds.
    last: u64,
    /// The number of its last opening, and its session; `None` if it was not used.
    opened: Option<(u64, SessionId)>,
}

impl Ticket {
    fn is_alive(&self, now: u64) -> bool {
        now < if self.opened.is_some() { self.last } else { self.first }
    }
}

impl Tickets {
    pub(super) fn create(&mut self, user: &User, ticket: &NewTicket, now: u64) -> bool {
        let NewTicket { id, content, life, keep, limit } = ticket;
        let tickets = self.0.entry(user.clone()).or_default();
        tickets.retain(|_, ticket| ticket.is_alive(now));
        tickets.remove(id);
        if tickets.len() >= *limit {
            let used = tickets.iter().filter_map(|(id, ticket)| Some((ticket.opened?.0, *id)));
            let Some((_, oldest)) = used.min_by_key(|(opening, _)| *opening) else { return false };
            tickets.remove(&oldest);
        }
        let until =
            |time: &std::time::Duration| now + u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2);
        let ticket = Ticket { content: content.clone(), first: until(life), last: until(keep), opened: None };
        tickets.insert(*id, ticket);
        true
    }

    pub(super) fn use_ticket(&mut self, user: &User, usage: &TicketUse, now: u64) -> TicketUsed {
        let TicketUse { id, resumes, named, binds } = usage;
        let found = self.0.get_mut(user).and_then(|tickets| tickets.get_mut(id));
        let Some(ticket) = found.filter(|ticket| ticket.is_alive(now)) else {
            return TicketUsed::Refused(TicketRefusal::Unknown);
        };
        let before = ticket.opened;
        if let Some((_, session)) = before {
            if !resumes {
                return TicketUsed::Refused(TicketRefusal::Used);
            }
            if named.is_some_and(|named| named != session) {
                return TicketUsed::Refused(TicketRefusal::OtherSession);
            }
        }
        let opening = now.max(before.map_or(0, |(opening, _)| opening + 1));
        if let Some(binds) = binds {
            ticket.opened = Some((opening, before.map_or(*binds, |(_, session)| session)));
        }
        match before {
            Some((_, session)) => TicketUsed::Again(ticket.content.clone(), session),
            None => TicketUsed::First(ticket.content.clone(), if binds.is_some() { opening } else { 0 }),
        }
    }

    pub(super) fn give_back(&mut self, user: &User, id: TicketId, opening: u64) {
        if let Some(ticket) = self.0.get_mut(user).and_then(|tickets| tickets.get_mut(&id))
            && ticket.opened.is_some_and(|(last, _)| last == opening)
        {
            ticket.opened = None;
        }
    }
}
