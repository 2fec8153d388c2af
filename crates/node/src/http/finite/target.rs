//! The stream of a request, and whether its bearer may use it.

use fanfare_protocol::User;
use fanfare_protocol::finite::StreamName;
use http::request::Parts;

use super::PREFIX;
use super::refusal::Refusal;
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::http::app::App;
use crate::http::params::Params;
use crate::http::problem::{Code, Problem};
use crate::rates::Caller;

/// Parameters of a read.
const PARAMS: [&str; 5] = ["offset", "live", "cursor", "ended", "missing"];

/// What a request does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Reads it: grant `subscribe`.
    Read,
    /// Creates, appends to, ends or deletes it: grant `publish`.
    Write,
    /// Ends it as cancelled: grant `cancel` or `publish`.
    Cancel,
}

/// The stream of a request whose bearer may use it.
pub(super) struct Target {
    pub(super) name: StreamName,
    pub(super) params: Params,
    bearer: Bearer,
    address: ClientAddress,
}

impl Target {
    /// Authenticates a request and checks its stream. Parameters that are not known are ignored, as the protocol demands.
    ///
    /// # Errors
    ///
    /// Fails if the bearer may not use the stream, or the name is not one.
    pub(super) async fn of(app: &App, parts: &Parts, usage: Use) -> Result<Self, Refusal> {
        let params = Params::parse_known(parts.uri.query(), &PARAMS, &[], |_, _| {})?;
        let address = ClientAddress::of(&parts.extensions);
        let bearer = app.bearer(&parts.headers, &params, address).await?;
        // Not decoded: the names of streams are texts of paths.
        let name = stream_name(parts.uri.path().strip_prefix(PREFIX).unwrap_or_default())?;
        let target = Self { name, params, bearer, address };
        target.check(&target.name, usage)?;
        Ok(target)
    }

    /// Checks whether the bearer may use a stream.
    ///
    /// # Errors
    ///
    /// Fails if not.
    pub(super) fn check(&self, name: &StreamName, usage: Use) -> Result<(), Problem> {
        let (grants, channel) = (&self.bearer.grants, name.channel());
        let (may, grant) = match usage {
            Use::Read => (grants.may_subscribe(self.user(), channel), "subscribe"),
            Use::Write => (grants.may_publish(channel), "publish"),
            Use::Cancel => (grants.may_cancel(channel), "cancel"),
        };
        let refuse = || Problem::no_grant(format!("the token does not grant {grant} on {channel}"));
        if may { Ok(()) } else { Err(refuse()) }
    }

    fn user(&self) -> Option<&User> {
        self.bearer.user.as_ref()
    }

    /// Returns whose rates a request counts against.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller { user: self.user(), address: self.address }
    }
}

/// Returns the stream of a path below [`PREFIX`].
pub(super) fn stream_name(path: &str) -> Result<StreamName, Refusal> {
    use fanfare_protocol::finite::name::NameError;
    StreamName::new(path).map_err(|error| match error {
        NameError::Reserved => Refusal::new(Code::NotFound, error.to_string()),
        error => Problem::new(Code::BadChannel, error.to_string()).into(),
    })
}
