//! Verifies and creates tokens (JWT, RFC 7519): who the bearer is, and what the bearer may do.
//!
//! Knows nothing of HTTP: the node finds the token in a request, and maps the errors to responses.
//!
//! # Layout
//!
//! In the order in which a token is verified:
//!
//! - [`authenticator`]: all issuers; the one that a token names verifies it
//! - [`issuer`]: one issuer: its keys, and what its tokens must say
//! - [`settings`]: the settings of an issuer
//! - `token`, `header`: the parts of a token
//! - `key_ring`: the keys of an issuer, and which of them fits a token
//! - [`key`], [`algorithm`]: a key that verifies signatures, and the algorithms that it allows
//! - `der`, `pem`, `jwk`, `certificate_map`, `bounded_file`, [`key_file`], [`secret`]: where keys come from
//! - [`remote_keys`]: the keys of a URL; `http_client`: bounded requests
//! - `claims`, [`claim_name`], [`claim_value`], [`template`], [`grant_rule`]: what a token says, and the grants that follow
//! - [`revocation`]: ids by which tokens are revoked
//! - [`identity`], [`error`]: the result
//! - [`callback`]: the application decides in place of tokens
//! - [`api_key`]: static keys of services; [`ticket`]: one-time credentials of streams
//! - [`new_token`], [`signing_key`]: creation of tokens

pub mod algorithm;
pub mod api_key;
pub mod authenticator;
mod bounded_file;
pub mod callback;
mod certificate_map;
pub mod claim_name;
pub mod claim_value;
mod claims;
mod der;
pub mod error;
pub mod grant_rule;
mod header;
pub mod http_client;
pub mod identity;
pub mod issuer;
mod jwk;
pub mod key;
pub mod key_file;
mod key_ring;
pub mod new_token;
mod pem;
pub mod remote_keys;
pub mod revocation;
pub mod secret;
pub mod settings;
pub mod signing_key;
pub mod template;
pub mod ticket;
mod token;

pub use algorithm::{Algorithm, Algorithms};
pub use authenticator::Authenticator;
pub use callback::Callback;
pub use error::TokenError;
pub use identity::Identity;
pub use settings::IssuerSettings;
