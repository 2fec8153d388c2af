//! What the listener and the middleware know of a request.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use http::Extensions;
use http::request::Parts;

use crate::address::{ClientAddress, Peer};
use crate::memory::{Account, NoRoom};

/// The extension of each request. One for all, since each extension costs an allocation.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The socket's peer.
    pub peer: Peer,
    /// The client's address, by trusted proxies. The middleware sets it.
    pub client: ClientAddress,
    /// The memory account of the connection.
    pub account: Account,
    /// Why there is no memory for the request, so that it must be refused.
    pub no_room: Option<NoRoom>,
    /// Size of the head, in bytes.
    pub head: usize,
}

impl RequestInfo {
    /// Returns the extension; `None` for a request that did not pass through a listener, as in tests of a router.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Sets the client's address.
    pub fn set_client(request: &mut Request, client: ClientAddress) {
        if let Some(info) = request.extensions_mut().get_mut::<Self>() {
            info.client = client;
        }
    }
}

impl ClientAddress {
    /// Returns the client's address of a request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        RequestInfo::of(extensions).map_or_else(Self::default, |info| info.client)
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
