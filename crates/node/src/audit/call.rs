//! A request or a connection, as the audit log shows it.

use std::net::IpAddr;

use axum::RequestExt;
use axum::extract::{RawPathParams, Request};
use fanfare_protocol::{SessionId, User};
use http::HeaderValue;
use http::header::HeaderName;

use crate::address::{ClientAddress, Peer};

/// The id that a balancer or a client gives a request. The crate `http` does not define it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id, in bytes.
const LONGEST_ID: usize = 128;

/// A request, without its credentials and its query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// The client's address, by trusted proxies.
    pub(crate) address: ClientAddress,
    /// Address of the socket's peer.
    pub(crate) peer: Option<IpAddr>,
    /// `public` or `admin`.
    pub(crate) listener: &'static str,
    /// The method; `other` for an unknown one, empty without a request.
    pub(crate) method: &'static str,
    /// The pattern of the route; `none` for a path without a route, empty without a request.
    pub(crate) route: String,
    /// The user in the path.
    pub(super) of_user: Option<User>,
    /// The session in the path.
    pub(super) of_session: Option<SessionId>,
    request_id: Option<HeaderValue>,
}

impl Call {
    /// Reads what a request asks for.
    pub(crate) async fn read(
        request: &mut Request,
        (method, route): (&'static str, String),
        listener: &'static str,
    ) -> Self {
        let extensions = request.extensions();
        let mut call = Self {
            address: extensions.get().copied().unwrap_or_default(),
            peer: extensions.get::<Peer>().map(|Peer(peer)| peer.ip()),
            listener,
            method,
            route,
            request_id: request.headers().get(REQUEST_ID).cloned(),
            ..Self::default()
        };
        let has_target = call.route.starts_with("/v1/users/") || call.route.starts_with("/v1/sessions/");
        if has_target && let Ok(params) = request.extract_parts::<RawPathParams>().await {
            for (name, value) in &params {
                match name {
                    "user" => call.of_user = User::new(value).ok(),
                    "session" => call.of_session = value.parse().ok(),
                    _ => {}
                }
            }
        }
        call
    }

    /// Returns a connection that was refused before a request.
    pub(crate) fn of_connection(address: ClientAddress, peer: IpAddr) -> Self {
        Self { address, peer: Some(peer), listener: "public", ..Self::default() }
    }

    /// Returns the request's id, if it is a short text.
    pub(super) fn request_id(&self) -> Option<&str> {
        let id = self.request_id.as_ref()?.to_str().ok()?;
        (1..=LONGEST_ID).contains(&id.len()).then_some(id)
    }
}
