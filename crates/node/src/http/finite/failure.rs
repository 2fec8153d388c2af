//! Why a read fails.

use super::refusal::Refusal;
use crate::finite::reader::ReadError;
use crate::finite::readers::Full;

/// Why a read failed.
pub(super) enum ReadFailure {
    /// By the stream, or the broker.
    Read(ReadError),
    /// By the node.
    Refused(Refusal),
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Full> for ReadFailure {
    fn from(full: Full) -> Self {
        Self::Refused(full.into())
    }
}
