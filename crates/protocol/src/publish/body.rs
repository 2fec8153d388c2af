//! The body of a publish request: one event, or an array of events. An event may be for several channels.

use std::collections::HashSet;
use std::slice;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MAX_KEY_BYTES, Publication, PublicationError, check_key, data_text};
use crate::TraceParent;
use crate::channel::{Channel, MAX_CHANNEL_BYTES};
use crate::event::{Event, EventType};
use crate::json::{self, EncodingError, Items, brief};

/// Maximum memory of a publication besides what those of one event share, in bytes.
const OWN_MEMORY: usize = size_of::<Publication>() + MAX_CHANNEL_BYTES + MAX_KEY_BYTES;

/// The body of a publish request. Each item is parsed separately, so that an invalid item does not affect the others.
#[derive(Debug)]
pub enum Body {
    /// A single object.
    One(Result<Item, PublicationError>),
    /// An array.
    Many(Vec<Result<Item, PublicationError>>),
}

/// An object of a body: an event for one channel, or for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// With `channel`.
    One(Publication),
    /// With `channels`: one publication for each, in their order. They share the data.
    Each(Vec<Publication>),
}

impl Item {
    /// Returns the publications.
    pub fn publications(&self) -> &[Publication] {
        match self {
            Self::One(publication) => slice::from_ref(publication),
            Self::Each(publications) => publications,
        }
    }

    /// Returns the publications, to change them.
    pub fn publications_mut(&mut self) -> &mut [Publication] {
        match self {
            Self::One(publication) => slice::from_mut(publication),
            Self::Each(publications) => publications,
        }
    }
}

/// Why a whole body is invalid.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not JSON text because of its encoding.
    #[error("the body {0}")]
    Encoding(#[from] EncodingError),
    /// Not JSON.
    #[error("the body is not JSON: {}", brief(.0))]
    Json(#[from] serde_json::Error),
    /// Too many events; an event for several channels counts once for each.
    #[error("the batch has {got} events; at most {most} are allowed")]
    TooMany {
        /// Number of events.
        got: usize,
        /// The limit.
        most: usize,
    },
}

/// Limits of a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Maximum size of an event's data, in bytes.
    pub data: usize,
    /// Maximum number of events in a batch.
    pub events: usize,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with channel or channels, data and maybe type, key, ephemeral, except, traceparent"
)]
struct Fields<'a> {
    channel: Option<String>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    key: Option<String>,
    ephemeral: Option<bool>,
    except: Option<String>,
    traceparent: Option<String>,
}

impl Body {
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// Fails if the body is not JSON, or has too many items. A body that is neither an object nor an array is one
    /// invalid item.
    pub fn parse(body: &[u8], limits: BodyLimits) -> Result<Self, BodyError> {
        let text = json::text(body)?;
        if text.trim_ascii_start().starts_with('[') {
            let Items { kept, count } = Items::read(text, limits.events)?;
            let mut events = count - kept.len();
            let mut parse = |item| {
                let (item, count) = Item::parse(item, limits.data, limits.events.saturating_sub(events));
                events += count;
                item
            };
            let items = kept.into_iter().map(&mut parse).collect();
            limits.check(events)?;
            Ok(Self::Many(items))
        } else {
            let (item, events) = Item::parse(serde_json::from_str(text)?, limits.data, limits.events);
            limits.check(events)?;
            Ok(Self::One(item))
        }
    }

    /// Returns the items.
    pub fn items(&self) -> &[Result<Item, PublicationError>] {
        match self {
            Self::One(item) => slice::from_ref(item),
            Self::Many(items) => items,
        }
    }

    /// Returns the items, to change them.
    pub fn items_mut(&mut self) -> &mut [Result<Item, PublicationError>] {
        match self {
            Self::One(item) => slice::from_mut(item),
            Self::Many(items) => items,
        }
    }

    /// Returns the number of events: an event for several channels counts once for each, and an invalid item once.
    pub fn events(&self) -> usize {
        self.items().iter().map(|item| item.as_ref().map_or(1, |item| item.publications().len())).sum()
    }

    /// Returns the bytes of data that events for several channels have beyond those in the body.
    pub fn repeated_bytes(&self) -> usize {
        self.repeated().map(|publication| publication.event.data_bytes().len()).sum()
    }

    /// Returns the maximum memory of the publications of events for several channels but the first of each, in bytes: without
    /// the data, which they share.
    pub fn repeated_memory(&self) -> usize {
        self.repeated().count() * OWN_MEMORY
    }

    fn repeated(&self) -> impl Iterator<Item = &Publication> {
        self.items().iter().flatten().flat_map(|item| item.publications().iter().skip(1))
    }
}

impl BodyLimits {
    fn check(self, events: usize) -> Result<(), BodyError> {
        let Self { events: most, .. } = self;
        if events > most { Err(BodyError::TooMany { got: events, most }) } else { Ok(()) }
    }
}

impl Item {
    /// Parses an object. Returns the number of its events with it; if these are more than `most`, the item has none.
    fn parse(item: &RawValue, limit: usize, most: usize) -> (Result<Self, PublicationError>, usize) {
        match Self::parse_each(item, limit, most) {
            Ok((item, events)) => (Ok(item), events),
            Err(error) => (Err(error), 1),
        }
    }

    fn parse_each(item: &RawValue, limit: usize, most: usize) -> Result<(Self, usize), PublicationError> {
        let Fields { channel, channels, kind, data, key, ephemeral, except, traceparent } =
            json::object(item.get())
                .map_err(|_| PublicationError::Json(json::fault::<Fields<'_>>(item.get())))?;
        let kind = kind.as_deref().map(EventType::new).transpose()?;
        let except = except.as_deref().map(str::parse).transpose()?;
        let trace = traceparent.and_then(|trace| TraceParent::parse(trace.as_bytes()));
        let event = Event::new(kind, data_text(data)?, limit)?.except(except).traced(trace);
        let ephemeral = ephemeral.unwrap_or_default();
        // Whatever is in each publication is checked before there is one for each channel.
        check_key(key.as_deref(), ephemeral)?;
        let to = |channel| Publication { channel, event: event.clone(), key: key.clone(), ephemeral };
        match (channel, channels) {
            (Some(channel), None) => Ok((Self::One(to(Channel::new(&channel)?)), 1)),
            (None, Some(channels)) => {
                let (channels, count) = names(channels, most)?;
                Ok((Self::Each(channels.into_iter().map(to).collect()), count))
            }
            (Some(_), Some(_)) => Err(PublicationError::TwoForms),
            (None, None) => Err(PublicationError::Json("missing field `channel`".to_owned())),
        }
    }
}

/// Parses a list of channels. Returns their number with them; none of them if they are more than `most`.
fn names(list: &RawValue, most: usize) -> Result<(Vec<Channel>, usize), PublicationError> {
    let not_text = |what| PublicationError::Json(format!("{what}: expected a string"));
    let list = Items::read(list.get(), most);
    let Items { kept, count } =
        list.map_err(|_| PublicationError::Json("channels: expected an array of strings".to_owned()))?;
    match count {
        0 => return Err(PublicationError::NoChannel),
        _ if count > most => return Ok((Vec::new(), count)),
        _ => {}
    }
    let (mut channels, mut seen) = (Vec::with_capacity(count), HashSet::with_capacity(count));
    for (index, name) in kept.into_iter().enumerate() {
        let name: String =
            serde_json::from_str(name.get()).map_err(|_| not_text(format!("channels[{index}]")))?;
        let channel = Channel::new(&name).map_err(|error| PublicationError::ChannelAt { index, error })?;
        if !seen.insert(channel.clone()) {
            return Err(PublicationError::RepeatedChannel(index));
        }
        channels.push(channel);
    }
    Ok((channels, count))
}
