//! Authentication of requests: where the token is, and what no token means.
//!
//! # Layout
//!
//! - [`upkeep`]: the tasks that keep the keys up to date
//! - [`tickets`]: one-time credentials of streams
//! - [`metrics`]: metrics of the keys
//!
//! Tokens are verified by `fanfare-auth`.

pub mod metrics;
pub mod tickets;
pub mod upkeep;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_auth::api_key::{self, ApiKey, ApiKeys};
pub use fanfare_auth::callback::metrics::CallbackMetrics;
use fanfare_auth::callback::request::CallbackRequest;
use fanfare_auth::callback::{Callback, CallbackError, Outcome};
use fanfare_auth::key_file::KeyFileError;
use fanfare_auth::{Authenticator, Identity, TokenError};
use fanfare_config::auth::{AuthConfig, AuthMode};
use fanfare_coordination::revocations::TokenRefusal;
use fanfare_protocol::channel::UserError;
use fanfare_protocol::revocation::TokenStamp;
use fanfare_protocol::ticket::TicketContent;
use fanfare_protocol::{Grants, User};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::address::ClientAddress;
use crate::rates::{Caller, Kind, RateLimited, Rates};

use self::tickets::{Presented, TicketError};

/// How a request carries its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A token in a header or the query: the program that sent the request has it.
    Sent,
    /// A ticket in the query of a stream.
    Ticket,
    /// A token in a cookie: browsers attach it to the requests of any page.
    Cookie,
    /// Headers by which the application knows the client. Browsers may attach them to the requests of any page.
    Callback,
    /// Network access: the node requires no token.
    Reach,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Bearer {
    /// The user; `None` for an anonymous caller, only with `--auth none`.
    pub user: Option<User>,
    /// Permissions.
    pub grants: Grants,
    /// Expiry of the token, including the leeway.
    pub expires: Option<SystemTime>,
    /// The part by which the token can be revoked; `None` without a token.
    pub stamp: Option<TokenStamp>,
    /// How the request carried the credentials.
    pub carrier: Carrier,
    /// The API key, if the credential is one.
    pub key: Option<Arc<ApiKey>>,
}

/// Why authentication failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no token.
    #[error("the request has no token; send it as Authorization: Bearer, as token=, or as a cookie")]
    NoToken,
    /// The request has none of the headers that the application gets.
    #[error(
        "the request has no credentials: the application knows clients by their cookie or by other headers \
         (auth.callback.headers), and tokens are not accepted"
    )]
    NoCredentials,
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API key is not one of the settings, or is not in the `Authorization` header.
    #[error("invalid API key: {0}")]
    Key(&'static str),
    /// The token is revoked, or the node does not know yet whether it is.
    #[error("{}", refusal(*.0))]
    Refused(TokenRefusal),
    /// The application does not know the client.
    #[error("the application does not accept the credentials of the request")]
    Unknown,
    /// The application forbids the client everything.
    #[error("the application forbids this client to use the node")]
    Forbidden,
    /// The application gave no answer that can be used.
    #[error("the application, which decides who a client is, gave no usable answer; retry")]
    NoAnswer,
    /// The address asks too much of the application.
    #[error("{}", .0.detail())]
    Limited(RateLimited),
    /// `user=` is not a valid user id.
    #[error("user: {0}")]
    BadUser(#[from] UserError),
}

fn refusal(refusal: TokenRefusal) -> &'static str {
    match refusal {
        TokenRefusal::Revoked => "the token has been revoked; get a new one",
        TokenRefusal::NotLoaded => "this node has not read the revocations of tokens yet; retry",
    }
}

/// Credentials in the query, and where the request comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// `token=`.
    pub token: Option<&'a str>,
    /// `user=`.
    pub user: Option<&'a str>,
    /// The client's address.
    pub address: ClientAddress,
    /// Rates that a request to the application is charged to.
    pub rates: Option<&'a Rates>,
}

/// Authenticates requests. Created once from the settings.
#[derive(Debug)]
pub struct Auth {
    cookie: String,
    mode: Mode,
    keys: ApiKeys,
}

/// What authenticates requests besides API keys.
#[derive(Debug)]
enum Mode {
    /// Every request may do everything.
    Open,
    /// Tokens.
    Tokens(Arc<Authenticator>),
    /// The application, by these headers.
    Application(Arc<Callback>, Vec<HeaderName>),
}

/// Why authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key file cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The application cannot be asked.
    #[error(transparent)]
    Callback(#[from] CallbackError),
}

impl Auth {
    /// Creates authentication from checked settings: the mode is set, and a key if the mode is `jwt`.
    ///
    /// # Errors
    ///
    /// Fails if a key file cannot be used, or if the application cannot be asked.
    pub fn new(config: &AuthConfig, metrics: CallbackMetrics) -> Result<Self, SetupError> {
        let mode = match config.mode {
            Some(AuthMode::None) => Mode::Open,
            Some(AuthMode::Callback) => {
                let callback = Callback::new(config.callback.settings(), metrics)?;
                Mode::Application(Arc::new(callback), config.callback.header_names())
            }
            // Without a key no token is accepted.
            _ => Mode::Tokens(Arc::new(Authenticator::new(config.issuer_settings())?)),
        };
        Ok(Self { cookie: config.cookie.clone(), mode, keys: ApiKeys::new(config.keys.clone()) })
    }

    /// Returns whether every request may do everything.
    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open)
    }

    /// Returns the verification of tokens; `None` in another mode.
    pub fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        match &self.mode {
            Mode::Tokens(authenticator) => Some(authenticator),
            _ => None,
        }
    }

    /// Returns what asks the application; `None` in another mode.
    pub fn callback(&self) -> Option<&Arc<Callback>> {
        match &self.mode {
            Mode::Application(callback, _) => Some(callback),
            _ => None,
        }
    }

    /// Returns whether the application says who the client of a request is: in its mode, unless the request has an API key.
    pub fn is_by_application(&self, headers: &HeaderMap) -> bool {
        self.callback().is_some()
            && !from_header(headers)
                .is_ok_and(|text| text.is_some_and(|text| text.starts_with(api_key::PREFIX)))
    }

    /// Authenticates a request.
    ///
    /// # Errors
    ///
    /// Fails if the token is missing or not accepted, if its keys cannot be fetched, or if the application lets the client
    /// in only later or not at all.
    pub async fn bearer(
        &self,
        headers: &HeaderMap,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Bearer, AuthError> {
        if self.is_open() {
            let user = asked.user.map(User::new).transpose()?;
            let (grants, carrier) = (Grants::all(), Carrier::Reach);
            return Ok(Bearer { user, grants, expires: None, stamp: None, carrier, key: None });
        }
        let in_header = from_header(headers)?;
        if let Some(key) = in_header.filter(|text| text.starts_with(api_key::PREFIX)) {
            return self.by_key(key);
        }
        let authenticator = match &self.mode {
            Mode::Tokens(authenticator) => authenticator,
            Mode::Application(callback, names) => {
                return by_application((callback, names), headers, asked, now).await;
            }
            Mode::Open => return Err(AuthError::NoToken),
        };
        let sent = in_header.or(asked.token).map(|token| (token, Carrier::Sent));
        let found = sent.or_else(|| Some((from_cookie(headers, &self.cookie)?, Carrier::Cookie)));
        let (token, carrier) = found.ok_or(AuthError::NoToken)?;
        if token.starts_with(api_key::PREFIX) {
            return Err(AuthError::Key(
                "send it as Authorization: Bearer; URLs and cookies are not safe for it",
            ));
        }
        Ok(Bearer::of(authenticator.authenticate(token, now).await?, carrier))
    }

    /// Forgets what the application said of a client, if a bearer is by that, so that the application is asked again. Returns
    /// whether it can be asked.
    pub async fn forget(&self, headers: &HeaderMap, stale: &Bearer, address: ClientAddress) -> bool {
        let Mode::Application(callback, names) = &self.mode else { return false };
        let request = request_of(headers, names, address);
        let Some((request, stamp)) = request.zip(stale.stamp.as_ref()) else { return false };
        callback.forget(&request, stamp).await;
        true
    }

    /// Returns the bearer of a ticket.
    ///
    /// # Errors
    ///
    /// Fails if the ticket is over, of an API key that is not in the settings any more, or of no credential although this
    /// node requires one.
    pub fn by_ticket(&self, ticket: &Presented, now: SystemTime) -> Result<Bearer, TicketError> {
        let TicketContent { grants, expires, stamp, key } = &ticket.content;
        let expires = SystemTime::UNIX_EPOCH + Duration::from_millis(*expires);
        // The broker keeps the ticket a little longer: from the moment at which it was stored.
        if expires <= now {
            return Err(TicketError::Unknown);
        }
        let hash = key.as_ref().map(|hash| hash.parse()).transpose().map_err(|_| TicketError::Unknown)?;
        let key = hash.and_then(|hash| self.keys.with_hash(hash)).cloned();
        if !self.is_open() && key.is_none() && (stamp.is_none() || hash.is_some()) {
            return Err(TicketError::Unknown);
        }
        Ok(Bearer {
            user: Some(ticket.user.clone()),
            grants: grants.clone(),
            expires: Some(expires),
            stamp: *stamp,
            carrier: Carrier::Ticket,
            key,
        })
    }

    /// Authenticates a service by its API key.
    fn by_key(&self, text: &str) -> Result<Bearer, AuthError> {
        let key = self.keys.find(text).ok_or(AuthError::Key("it is none of auth.keys"))?;
        Ok(Bearer {
            user: Some(key.name.clone()),
            grants: key.grants.clone(),
            expires: None,
            stamp: None,
            carrier: Carrier::Sent,
            key: Some(Arc::clone(key)),
        })
    }
}

impl Bearer {
    fn of(Identity { user, grants, expires, stamp }: Identity, carrier: Carrier) -> Self {
        let (user, expires, stamp) = (Some(user), Some(expires), Some(stamp));
        Self { user, grants, expires, stamp, carrier, key: None }
    }
}

/// Authenticates a client by what the application says. A page of another origin may have caused the browser to send the
/// credentials, whichever they are.
async fn by_application(
    (callback, names): (&Callback, &[HeaderName]),
    headers: &HeaderMap,
    Asked { address, rates, .. }: Asked<'_>,
    now: SystemTime,
) -> Result<Bearer, AuthError> {
    let request = request_of(headers, names, address).ok_or(AuthError::NoCredentials)?;
    if !callback.keeps(&request)
        && let Some(rates) = rates
    {
        // Anyone can cause a request, with credentials that are made up.
        rates.admit(Kind::Requests, Caller { user: None, address }, 1).map_err(AuthError::Limited)?;
    }
    match callback.identify(&request).await {
        Outcome::Allowed(identity) if identity.expires <= now => {
            // The clock was set.
            callback.forget(&request, &identity.stamp).await;
            Err(AuthError::NoAnswer)
        }
        Outcome::Allowed(identity) => Ok(Bearer::of((*identity).clone(), Carrier::Callback)),
        Outcome::Unknown => Err(AuthError::Unknown),
        Outcome::Forbidden => Err(AuthError::Forbidden),
        Outcome::Failed => Err(AuthError::NoAnswer),
    }
}

fn request_of(headers: &HeaderMap, names: &[HeaderName], address: ClientAddress) -> Option<CallbackRequest> {
    let text = address.to_string();
    let network = address.key().map(|key| key.to_string());
    CallbackRequest::new(headers, names, &text, network.as_deref().unwrap_or(&text))
}

/// Returns the token of `Authorization: Bearer <token>`. Other schemes are ignored: they may be for a proxy.
fn from_header(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let bad = |why: &str| AuthError::from(TokenError::Invalid(why.to_owned()));
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| bad("the Authorization header is not ASCII"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            continue;
        }
        if found.replace(token.trim()).is_some() {
            return Err(bad("the request has two tokens"));
        }
    }
    match found {
        Some("") => Err(bad("it is empty")),
        found => Ok(found),
    }
}

/// Returns the token of a cookie. Other cookies in the same line may have any bytes, since pages set them.
fn from_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let mut values = lines.flat_map(|line| line.split(|&byte| byte == b';')).filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        // Found and refused, unlike a token that is missing.
        Some(std::str::from_utf8(value).unwrap_or("\u{fffd}").trim_matches('"'))
    });
    values.find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare_auth::new_token::NewToken;
    use fanfare_auth::signing_key::SigningKey;
    use fanfare_broker::{BrokerSettings, MemoryBroker};
    use fanfare_config::Config;
    use fanfare_config::secret::Secret;
    use futures_util::FutureExt;

    use super::tickets::Tickets;
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn auth() -> (Auth, impl Fn(&str) -> String) {
        let mut config = AuthConfig { mode: Some(AuthMode::Jwt), ..AuthConfig::default() };
        config.jwt.secret = Some(Secret::new(SECRET.to_owned()));
        let issuer = config.issuer_settings().remove(0);
        let token = move |user: &str| {
            let user = User::new(user).unwrap();
            let token = NewToken { user, grants: Grants::default(), ttl: Duration::from_mins(1) };
            let key = SigningKey::secret(SECRET.as_bytes(), None).unwrap();
            token.sign(&key, &issuer, SystemTime::now()).unwrap()
        };
        (Auth::new(&config, CallbackMetrics::default()).unwrap(), token)
    }

    #[test]
    fn the_header_wins_over_the_parameter_and_that_over_the_cookie() {
        let (auth, token) = auth();
        let mut headers = HeaderMap::new();
        let bearer = |headers: &HeaderMap, token: Option<&str>| {
            // No keys are fetched.
            let bearer = auth.bearer(headers, Asked { token, ..Asked::default() }, SystemTime::now());
            bearer.now_or_never().unwrap()
        };
        let user = |headers: &HeaderMap, token: Option<&str>| {
            bearer(headers, token).map(|bearer| bearer.user.unwrap().to_string())
        };
        let bad = |headers: &HeaderMap, word: &str| {
            let error = bearer(headers, None).unwrap_err().to_string();
            assert!(error.starts_with("invalid token: ") && error.contains(word), "{error}");
        };
        assert_eq!(user(&headers, None), Err(AuthError::NoToken));
        headers.insert(COOKIE, format!("a=b; fanfare_token={}; c", token("cookie")).parse().unwrap());
        headers.insert(AUTHORIZATION, "Basic eDp5".parse().unwrap());
        assert_eq!(user(&headers, None).unwrap(), "cookie");
        assert_eq!(bearer(&headers, None).unwrap().carrier, Carrier::Cookie);
        assert_eq!(bearer(&headers, Some(&token("query"))).unwrap().carrier, Carrier::Sent);
        assert_eq!(user(&headers, Some(&token("query"))).unwrap(), "query");
        headers.append(AUTHORIZATION, format!("bearer  {}", token("header")).parse().unwrap());
        assert_eq!(user(&headers, Some(&token("query"))).unwrap(), "header");
        headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        bad(&headers, "two");
        headers.insert(AUTHORIZATION, "Bearer".parse().unwrap());
        bad(&headers, "empty");
    }

    #[test]
    fn a_cookie_is_found_beside_others_of_any_bytes() {
        let (auth, token) = auth();
        let token = token("7");
        let check = |cookies: &[u8]| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(cookies).unwrap())]);
            let asked = Asked::default();
            auth.bearer(&headers, asked, SystemTime::now()).now_or_never().unwrap()
        };
        for (before, after) in [
            (&b"name=Jos\xc3\xa9; "[..], &b""[..]),
            (b"name=Jos\xe9;", b"; x"),
            (b"\xff; fanfare_token=; my_fanfare_token=x; fanfare_tokens=y; ", b";"),
            (b"a=b; \"c\"; ;", b"; fanfare_token=second"),
        ] {
            let cookies = [before, b"fanfare_token=", token.as_bytes(), after].concat();
            assert!(check(&cookies).is_ok(), "{:?}", String::from_utf8_lossy(&cookies));
        }
        assert!(check(format!("fanfare_token=\"{token}\"").as_bytes()).is_ok());
        let error = check(b"fanfare_token=\xff").unwrap_err().to_string();
        assert!(error.contains("it is not a JWT"), "{error}");
        for none in [&b"fanfare_token"[..], b"fanfare_token=", b"fanfare_token=\"\"", b"fanfare_tokens=x"] {
            assert_eq!(check(none), Err(AuthError::NoToken), "{:?}", String::from_utf8_lossy(none));
        }
    }

    #[tokio::test]
    async fn a_ticket_is_over_when_its_stream_is() {
        let config = AuthConfig { mode: Some(AuthMode::None), ..AuthConfig::default() };
        let auth = Auth::new(&config, CallbackMetrics::default()).unwrap();
        let tickets =
            Tickets::new(Arc::new(MemoryBroker::new(BrokerSettings::default())), &Config::default());
        let now = SystemTime::now();
        let asked = Asked { user: Some("7"), ..Asked::default() };
        let bearer = auth.bearer(&HeaderMap::new(), asked, now).await.unwrap();
        let bearer = Bearer { expires: Some(now + Duration::from_mins(1)), ..bearer };
        let issued = tickets.issue(&bearer, None, now).await.unwrap();
        let ticket = tickets.look(&issued.text, false, None).await.unwrap();
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(issued.expires);
        let at = |now| auth.by_ticket(&ticket, now).map(|bearer| bearer.expires);
        assert_eq!(at(until - Duration::from_millis(1)).unwrap(), Some(until));
        assert!(matches!(at(until), Err(TicketError::Unknown)));
    }

    #[test]
    fn without_auth_everybody_may_do_everything_and_says_who_they_are() {
        let config = AuthConfig { mode: Some(AuthMode::None), ..AuthConfig::default() };
        let auth = Auth::new(&config, CallbackMetrics::default()).unwrap();
        let asked = |user| {
            let asked = Asked { user, ..Asked::default() };
            auth.bearer(&HeaderMap::new(), asked, SystemTime::now()).now_or_never().unwrap()
        };
        assert_eq!(asked(Some("7")).unwrap().user, Some(User::new("7").unwrap()));
        let anonymous = Bearer {
            user: None,
            grants: Grants::all(),
            expires: None,
            stamp: None,
            carrier: Carrier::Reach,
            key: None,
        };
        assert_eq!(asked(None).unwrap(), anonymous);
        assert!(matches!(asked(Some("")), Err(AuthError::BadUser(_))));
    }
}
