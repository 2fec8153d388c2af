//! A request or a connection, as the audit log shows it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;

use axum::RequestExt;
use axum::extract::{MatchedPath, RawPathParams, Request};
use fanfare_protocol::{Position, SessionId, User};
use futures_util::FutureExt;
use http::HeaderValue;
use http::header::HeaderName;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::address::ClientAddress;
use crate::request_info::RequestInfo;

/// The id that a balancer or a client gives a request. The crate `http` does not define it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id, in bytes.
const LONGEST_ID: usize = 128;

/// Beginnings of the routes whose path names what a call is about.
const TARGETS: [&str; 3] = ["/v1/users/", "/v1/sessions/", "/v1/dead-letters/"];

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
    pub(crate) route: Route,
    /// The user in the path.
    pub(super) of_user: Option<User>,
    /// The session in the path.
    pub(super) of_session: Option<SessionId>,
    /// The dead letter in the path.
    pub(super) of_entry: Option<Position>,
    request_id: Option<HeaderValue>,
}

/// The pattern of a request's route, shared with the router.
#[derive(Clone, Debug, Default)]
pub(crate) enum Route {
    Matched(MatchedPath),
    /// `none`: the path has no route.
    None,
    /// Empty: there is no request.
    #[default]
    NoRequest,
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Matched(path) => path.as_str(),
            Self::None => "none",
            Self::NoRequest => "",
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&&**self, encoder)
    }
}

impl Call {
    /// Reads what a request asks for.
    pub(crate) fn read(request: &mut Request, method: &'static str, listener: &'static str) -> Self {
        let info = RequestInfo::of(request.extensions());
        let mut call = Self {
            address: info.map_or_else(ClientAddress::default, |info| info.client),
            peer: info.map(|info| info.peer.0.ip()),
            listener,
            method,
            route: request.extensions().get::<MatchedPath>().cloned().map_or(Route::None, Route::Matched),
            request_id: request.headers().get(REQUEST_ID).cloned(),
            ..Self::default()
        };
        let has_target = TARGETS.iter().any(|start| call.route.starts_with(start));
        // The extractor does not wait.
        if has_target && let Some(Ok(params)) = request.extract_parts::<RawPathParams>().now_or_never() {
            for (name, value) in &params {
                match name {
                    "user" => call.of_user = User::new(value).ok(),
                    "session" => call.of_session = value.parse().ok(),
                    "id" => call.of_entry = value.parse().ok(),
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
