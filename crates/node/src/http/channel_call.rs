//! A call about the channel in its path.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use fanfare_protocol::Channel;
use http::HeaderMap;
use http::request::Parts;

use super::app::App;
use super::params::Params;
use super::problem::{Code, Problem};
use crate::address::ClientAddress;
use crate::auth::Bearer;

/// A request about a channel, before it is authenticated.
#[derive(Debug)]
pub struct ChannelCall {
    app: Arc<App>,
    name: Result<Path<String>, PathRejection>,
    query: Option<String>,
    headers: HeaderMap,
    address: ClientAddress,
}

/// An authenticated call. Its handler checks what the bearer may do.
pub struct AuthenticCall {
    /// State of all endpoints.
    pub app: Arc<App>,
    /// The channel in the path.
    pub channel: Channel,
    /// The parameters.
    pub params: Params,
    /// Who calls.
    pub bearer: Bearer,
}

impl FromRequestParts<Arc<App>> for ChannelCall {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let name = Path::from_request_parts(parts, app).await;
        let query = parts.uri.query().map(str::to_owned);
        let (headers, address) = (parts.headers.clone(), ClientAddress::of(&parts.extensions));
        Ok(Self { app: Arc::clone(app), name, query, headers, address })
    }
}

impl ChannelCall {
    /// Authenticates the call. `names`: its parameters besides those of every endpoint, each of which may be present once.
    ///
    /// # Errors
    ///
    /// Fails if a parameter or the channel is invalid, or like [`App::bearer`].
    pub async fn authenticate(self, names: &[&'static str]) -> Result<AuthenticCall, Problem> {
        let Self { app, name, query, headers, address } = self;
        let params = Params::parse(query.as_deref(), names, &[])?;
        let bearer = app.bearer(&headers, &params, address).await?;
        let Path(name) = name.map_err(|_| {
            Problem::new(Code::BadChannel, "the channel in the path is not UTF-8 after percent-decoding")
        })?;
        Ok(AuthenticCall { channel: Channel::new(&name)?, app, params, bearer })
    }
}
