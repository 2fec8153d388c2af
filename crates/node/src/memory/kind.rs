//! What reserved bytes are for, and whose share bounds them.

use prometheus_client::encoding::EncodeLabelSet;

/// Purpose of reserved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections without a stream, without their requests.
    Sockets,
    /// Request heads, and a fixed amount for each request.
    Requests,
    /// Request bodies, and parsed copies of them.
    Bodies,
    /// Responses that are not written yet.
    Responses,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Sockets, Self::Requests, Self::Bodies, Self::Responses];

    /// Returns the name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Responses => "responses",
        }
    }

    /// Returns the maximum bytes of this kind, without the reserve.
    pub(super) fn bound(self, total: usize) -> usize {
        let sixteenths = match self {
            Self::Sockets | Self::Bodies => 4,
            Self::Requests | Self::Responses => 2,
        };
        total / 16 * sixteenths
    }
}

/// Scope whose share of the budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The connection.
    Connection,
    /// The address.
    Address,
    /// The node.
    Node,
}

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Connection, Self::Address, Self::Node];

    /// Returns the name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Address => "address",
            Self::Node => "node",
        }
    }
}

/// No memory is left for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory left for {} (limits.memory, by {})", .kind.as_str(), .scope.as_str())]
pub struct NoRoom {
    /// Purpose of the bytes.
    pub kind: Kind,
    /// Scope whose share is used up.
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabels {
    kind: &'static str,
    scope: &'static str,
}

pub(super) fn labels(kind: Kind, scope: Scope) -> RefusedLabels {
    RefusedLabels { kind: kind.as_str(), scope: scope.as_str() }
}
