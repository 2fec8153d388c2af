//! What can go wrong with a broker, and whether trying again helps.

/// A call that the broker did not carry out, or of which it is not known whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Passing: no connection, a time-out, still loading, out of memory, a read-only replica. Trying again helps.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// Lasting: a key of another type, a command that is not allowed. Trying again is useless until somebody
    /// mends it.
    #[error("the broker refused: {0}")]
    Refused(String),
}

impl BrokerError {
    /// Whether trying again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
