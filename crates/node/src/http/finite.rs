//! `/v1/stream/{name}`: finite streams, by the Durable Streams protocol, version 1.0.
//!
//! # Layout
//!
//! - `target`: the stream of a request, and whether its bearer may use it
//! - [`create`], [`append`], [`read`], [`inspect`], [`remove`]: a file for each method
//! - [`list`]: the streams, for operators
//! - `commit`: what becomes of an append
//! - `piped`: a body that is appended as it arrives
//! - `live`: the response of a live reader; `failure`: why a read fails; `cursor`: the cursor of the next request
//! - `fields`: headers of requests and responses
//! - `refusal`: error responses, which may say where the stream ends

pub mod append;
mod commit;
pub mod create;
mod cursor;
mod failure;
mod fields;
pub mod inspect;
pub mod list;
mod live;
mod piped;
pub mod read;
mod refusal;
pub mod remove;
mod target;

use http::HeaderValue;
use http::header::HeaderName;

pub(super) use self::fields::{EXPOSED, REQUESTED};

/// Beginning of the paths of finite streams.
pub(super) const PREFIX: &str = "/v1/stream/";
/// Pattern of their route.
pub(super) const ROUTE: &str = "/v1/stream/{*name}";

/// `Cross-Origin-Resource-Policy` (Fetch), which the crate `http` does not define: pages of every origin may show what they may
/// read.
pub(super) const RESOURCE_POLICY: (HeaderName, HeaderValue) =
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
