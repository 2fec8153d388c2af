//! No traces: the feature `otlp` is off.

use fanfare_protocol::{Channel, Event};

use super::{TraceError, TraceMetrics, TraceSettings, TracedEvent};

/// Makes no spans.
#[derive(Clone, Debug, Default)]
pub struct Tracer;

/// Spans of published events: none.
#[derive(Debug)]
#[must_use]
pub struct PublishSpans;

/// A span of an event's fan-out, which does not exist.
#[derive(Clone, Debug)]
pub enum FanOutSpan {}

impl Tracer {
    /// Starts nothing.
    ///
    /// # Errors
    ///
    /// Fails if the settings ask for traces.
    pub fn start(settings: TraceSettings, _: TraceMetrics) -> Result<Self, TraceError> {
        if settings.endpoint.is_some() { Err(TraceError::NotBuilt) } else { Ok(Self) }
    }

    /// Starts no spans.
    #[inline]
    pub fn publishing<'a>(
        &self,
        _: &'static str,
        _: impl IntoIterator<Item = (&'a Channel, &'a mut Event)>,
    ) -> PublishSpans {
        PublishSpans
    }

    /// Returns `None`.
    #[inline]
    pub fn fan_out(&self, _: TracedEvent<'_>) -> Option<FanOutSpan> {
        None
    }

    /// Has nothing to send.
    #[expect(clippy::unused_async, reason = "the form of the other implementation")]
    pub async fn shutdown(&self) {}
}

impl PublishSpans {
    /// Ends no spans.
    #[inline]
    pub fn end(self, _: bool) {}
}

impl FanOutSpan {
    /// Cannot be called.
    #[inline]
    pub fn delivered(&self, _: usize) {
        match *self {}
    }
}
