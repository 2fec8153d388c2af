//! Authentication and authorization.
//!
//! # Layout
//!
//! - `header`, `claims`: the parts of a token, and what may be wrong with them
//! - [`issue`]: creation of tokens
//! - `hmac`: the cryptography of tokens

mod claims;
mod header;
mod hmac;
pub mod issue;

#[cfg(test)]
pub(crate) use hmac::install;

use std::time::{Duration, SystemTime};

use fanfare_config::auth::{AuthConfig, AuthMode, JwtConfig};
use fanfare_protocol::channel::UserError;
use fanfare_protocol::json::ByName;
use fanfare_protocol::{Grants, User};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};

use self::claims::Claims;

/// How a request carries its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A token in a header or the query: the program that sent the request has it.
    Sent,
    /// A token in a cookie: browsers attach it to the requests of any page.
    Cookie,
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
    /// How the request carried the credentials.
    pub carrier: Carrier,
}

/// Why authentication failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no token.
    #[error("the request has no token; send it as Authorization: Bearer, as token=, or as a cookie")]
    NoToken,
    /// The token is not accepted. The reason does not help to forge one.
    #[error("invalid token: {0}")]
    BadToken(String),
    /// The token has expired.
    #[error("the token has expired; get a new one")]
    Expired,
    /// `user=` is not a valid user id.
    #[error("user: {0}")]
    BadUser(#[from] UserError),
}

/// Credentials in the query.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// `token=`.
    pub token: Option<&'a str>,
    /// `user=`.
    pub user: Option<&'a str>,
}

/// Authenticates requests. Created once from the settings.
#[derive(Debug)]
pub struct Auth {
    cookie: String,
    tokens: Option<Tokens>,
}

/// Verification of tokens.
struct Tokens {
    key: DecodingKey,
    validation: Validation,
    leeway: Duration,
    /// Maximum lifetime of a token; `None` for no limit.
    max_lifetime: Option<Duration>,
}

impl Auth {
    /// Creates authentication from checked settings: the mode is set, and a secret if the mode is `jwt`.
    pub fn new(config: &AuthConfig) -> Self {
        let tokens = (config.mode != Some(AuthMode::None)).then(|| Tokens::new(&config.jwt));
        Self { cookie: config.cookie.clone(), tokens }
    }

    /// Returns whether every request may do everything.
    pub fn is_open(&self) -> bool {
        self.tokens.is_none()
    }

    /// Authenticates a request.
    ///
    /// # Errors
    ///
    /// Fails if the token is missing or not accepted.
    pub fn bearer(
        &self,
        headers: &HeaderMap,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Bearer, AuthError> {
        let Some(tokens) = &self.tokens else {
            let user = asked.user.map(User::new).transpose()?;
            return Ok(Bearer { user, grants: Grants::all(), expires: None, carrier: Carrier::Reach });
        };
        let sent = from_header(headers)?.or(asked.token).map(|token| (token, Carrier::Sent));
        let found = sent.or_else(|| Some((from_cookie(headers, &self.cookie)?, Carrier::Cookie)));
        let (token, carrier) = found.ok_or(AuthError::NoToken)?;
        tokens.check(token, carrier, now)
    }
}

impl Tokens {
    fn new(config: &JwtConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are checked below: the library accepts only whole seconds, and treats an invalid time as missing.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = config.audience.is_some();
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        // Checked settings always have a secret; without one, no token would be accepted.
        let secret =
            config.secret.as_ref().map_or_else(random_secret, |secret| secret.expose().as_bytes().to_vec());
        hmac::install();
        let max_lifetime = Some(config.max_lifetime).filter(|lifetime| !lifetime.is_zero());
        Self { key: DecodingKey::from_secret(&secret), validation, leeway: config.leeway, max_lifetime }
    }

    fn check(&self, token: &str, carrier: Carrier, now: SystemTime) -> Result<Bearer, AuthError> {
        let bad = |why: &str| AuthError::BadToken(why.to_owned());
        header::check(token).map_err(AuthError::BadToken)?;
        let TokenData { claims: ByName(claims), .. } =
            jsonwebtoken::decode::<ByName<Claims>>(token, &self.key, &self.validation)
                .map_err(|error| AuthError::BadToken(explain(token, error.kind())))?;
        let user = claims.user().map_err(AuthError::BadToken)?;
        let expires = claims.expiry().map_err(AuthError::BadToken)? + self.leeway;
        if now >= expires {
            return Err(AuthError::Expired);
        }
        if claims.begin().map_err(AuthError::BadToken)?.is_some_and(|begins| begins > now + self.leeway) {
            return Err(bad("it is not valid yet (nbf)"));
        }
        if let Some(most) = self.max_lifetime {
            let issued = claims.issued().map_err(AuthError::BadToken)?;
            // Without `iat`, the token was issued now at the latest.
            let begins = issued.map_or(now, |issued| issued.min(now));
            if expires.duration_since(begins).is_ok_and(|lifetime| lifetime > most + self.leeway * 2) {
                let most = humantime::format_duration(most);
                return Err(AuthError::BadToken(format!(
                    "its lifetime exceeds {most} (auth.jwt.max_lifetime)"
                )));
            }
        }
        let grants = claims.grants().map_err(AuthError::BadToken)?;
        Ok(Bearer { user: Some(user), grants, expires: Some(expires), carrier })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("leeway", &self.leeway).finish_non_exhaustive()
    }
}

/// Returns a random secret.
fn random_secret() -> Vec<u8> {
    [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|uuid| *uuid.as_bytes()).collect()
}

/// Returns the token of `Authorization: Bearer <token>`. Other schemes are ignored: they may be for a proxy.
fn from_header(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let bad = |why: &str| AuthError::BadToken(why.to_owned());
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

fn explain(token: &str, kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidSignature => "its signature does not match".to_owned(),
        ErrorKind::InvalidAlgorithm => "its algorithm is not HS256".to_owned(),
        ErrorKind::InvalidIssuer => "its iss is not auth.jwt.issuer".to_owned(),
        ErrorKind::InvalidAudience => "its aud is not auth.jwt.audience".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no {claim}"),
        // Of the claims, or of a parameter of the header that is not checked here: nothing that the bearer has not sent.
        ErrorKind::Json(error) => claims::fault(token, error),
        _ => "it is not a JWT".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_config::secret::Secret;
    use fanfare_protocol::Channel;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000;

    fn auth(change: impl FnOnce(&mut JwtConfig)) -> Auth {
        let mut config = AuthConfig { mode: Some(AuthMode::Jwt), ..AuthConfig::default() };
        config.jwt.secret = Some(Secret::new(SECRET.to_owned()));
        change(&mut config.jwt);
        Auth::new(&config)
    }

    fn sign(claims: &Value) -> String {
        sign_with(&Header::default(), claims, SECRET)
    }

    fn sign_with(header: &Header, claims: &Value, secret: &str) -> String {
        hmac::install();
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn check(auth: &Auth, claims: &Value) -> Result<Bearer, AuthError> {
        let token = sign(claims);
        auth.bearer(&HeaderMap::new(), Asked { token: Some(&token), user: None }, at(NOW))
    }

    fn bad(result: Result<Bearer, AuthError>, word: &str) {
        match result {
            Err(AuthError::BadToken(why)) => assert!(why.contains(word), "{why} has no {word}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_names_its_user_and_grants() {
        let bearer = check(
            &auth(|_| ()),
            &json!({"sub": "7", "exp": NOW + 60, "fanfare": {"subscribe": ["room:*"]}, "other": [1]}),
        )
        .unwrap();
        assert_eq!(bearer.user, Some(User::new("7").unwrap()));
        assert_eq!(bearer.expires, Some(at(NOW + 65)));
        assert!(bearer.grants.may_subscribe(None, &Channel::new("room:1").unwrap()));
        assert!(!bearer.grants.admin);
        for number in [json!(42), json!(-7), json!(u64::MAX)] {
            let bearer = check(&auth(|_| ()), &json!({"sub": number, "exp": NOW + 60})).unwrap();
            assert_eq!(bearer.user, Some(User::new(&number.to_string()).unwrap()));
        }
        let plain = check(&auth(|_| ()), &json!({"sub": "7", "exp": 1_700_000_000.5})).unwrap();
        assert_eq!(plain.grants, Grants::default());
    }

    #[test]
    fn time_is_checked_with_leeway() {
        let auth = auth(|_| ());
        assert!(check(&auth, &json!({"sub": "7", "exp": NOW - 4})).is_ok());
        assert_eq!(check(&auth, &json!({"sub": "7", "exp": NOW - 5})), Err(AuthError::Expired));
        bad(check(&auth, &json!({"sub": "7", "exp": u64::MAX})), "max_lifetime");
        bad(check(&auth, &json!({"sub": "7"})), "exp");
        bad(check(&auth, &json!({"sub": "7", "exp": -1})), "exp");
        bad(check(&auth, &json!({"sub": "7", "exp": "soon"})), "its exp is not a time");
        bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "nbf": NOW + 6})), "nbf");
        assert!(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "nbf": NOW + 5})).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said() {
        let auth = auth(|_| ());
        bad(check(&auth, &json!({"exp": NOW + 9})), "sub");
        bad(check(&auth, &json!({"sub": "", "exp": NOW + 9})), "sub");
        bad(check(&auth, &json!({"sub": "a b", "exp": NOW + 9})), "sub");
        // The crate reads sub too, and takes the last two for broken JSON.
        for odd in [json!(true), json!(7.5), json!(["7"]), json!({"id": "7"})] {
            bad(check(&auth, &json!({"sub": odd, "exp": NOW + 9})), "neither text nor a whole number");
        }
        for claim in ["exp", "nbf", "iat"] {
            for odd in [json!("1"), json!([]), json!({}), json!(true)] {
                let mut claims = json!({"sub": "7", "exp": NOW + 9});
                claims[claim] = odd;
                bad(check(&auth, &claims), &format!("its {claim} is not a time"));
            }
        }
        for (grants, word) in [
            (json!([["*"], ["*"], true]), "an object"),
            (json!(null), "an object"),
            (json!({"root": true}), "unknown field `root`"),
            (json!({"publish": "room:*"}), "publish: invalid type: string"),
            (json!({"subscribe": ["a", 5]}), "subscribe[1]: invalid type: integer `5`"),
            (json!({"subscribe": ["ro om"]}), "subscribe[0]: the channel name has"),
        ] {
            let result = check(&auth, &json!({"sub": "7", "exp": NOW + 9, "fanfare": grants}));
            bad(result.clone(), "its claim fanfare is invalid: ");
            bad(result, word);
        }
        bad(check(&auth, &json!(["7", NOW + 9, null, {"admin": true}])), "its claims are invalid");
        bad(check(&auth, &json!([1])), "its claims are invalid");
        let token =
            |token: &str| auth.bearer(&HeaderMap::new(), Asked { token: Some(token), user: None }, at(NOW));
        bad(token("x"), "not a JWT");
        bad(token(""), "not a JWT");
        let good = sign(&json!({"sub": "7", "exp": NOW + 9}));
        let claims = json!({"sub": "7", "exp": NOW + 9});
        bad(token(&sign_with(&Header::default(), &claims, "another secret")), "signature");
        // {"alg":"HS512"} and so on, with any signature.
        for (head, word) in [("eyJhbGciOiJIUzUxMiJ9", "HS256"), ("eyJhbGciOiJSUzI1NiJ9", "HS256")] {
            let (_, rest) = good.split_once('.').unwrap();
            bad(token(&format!("{head}.{rest}")), word);
        }
        // {"alg":"none"}
        let (_, rest) = good.split_once('.').unwrap();
        bad(token(&format!("eyJhbGciOiJub25lIn0.{rest}")), "HS256");
    }

    #[test]
    fn a_token_with_crit_is_refused() {
        let auth = auth(|_| ());
        for crit in [vec![], vec!["exp".to_owned()], vec!["b64".to_owned()]] {
            let header = Header { crit: Some(crit), ..Header::default() };
            let token = sign_with(&header, &json!({"sub": "7", "exp": NOW + 9}), SECRET);
            bad(auth.bearer(&HeaderMap::new(), Asked { token: Some(&token), user: None }, at(NOW)), "crit");
        }
    }

    #[test]
    fn a_token_of_another_kind_is_refused() {
        let auth = auth(|_| ());
        let of = |typ: Option<&str>| {
            let header = Header { typ: typ.map(str::to_owned), ..Header::default() };
            let token = sign_with(&header, &json!({"sub": "7", "exp": NOW + 9}), SECRET);
            auth.bearer(&HeaderMap::new(), Asked { token: Some(&token), user: None }, at(NOW))
        };
        for typ in [None, Some("JWT"), Some("jwt"), Some("at+jwt"), Some("application/AT+JWT")] {
            assert!(of(typ).is_ok(), "{typ:?}");
        }
        for typ in ["secevent+jwt", "logout+jwt", "dpop+jwt", "kb+jwt", "JOSE", "", "application/"] {
            bad(of(Some(typ)), "typ");
        }
    }

    #[test]
    fn a_token_for_ever_is_refused_unless_the_settings_allow_it() {
        let week = 7 * 24 * 3600;
        let strict = auth(|jwt| jwt.max_lifetime = Duration::from_secs(week));
        let claims = |iat: Option<u64>, exp: u64| match iat {
            Some(iat) => json!({"sub": "7", "iat": iat, "exp": exp}),
            None => json!({"sub": "7", "exp": exp}),
        };
        for (iat, exp, good) in [
            (None, NOW + week, true),
            (None, NOW + week + 60, false),
            (Some(NOW), NOW + week, true),
            // It was good for longer when it was made.
            (Some(NOW - week), NOW + 60, false),
            // A clock ahead makes nothing longer.
            (Some(NOW + 3600), NOW + week + 3600, false),
            (Some(NOW - 60), NOW + week - 60, true),
        ] {
            let result = check(&strict, &claims(iat, exp));
            assert_eq!(result.is_ok(), good, "{iat:?} {exp}: {result:?}");
            if !good {
                bad(result, "7days (auth.jwt.max_lifetime)");
            }
        }
        bad(check(&strict, &json!({"sub": "7", "exp": NOW + 9, "iat": -1})), "iat");
        let open = auth(|jwt| jwt.max_lifetime = Duration::ZERO);
        assert!(check(&open, &json!({"sub": "7", "exp": u64::MAX})).is_ok());
        assert!(check(&auth(|_| ()), &claims(None, NOW + 365 * 24 * 3600)).is_ok(), "a year by default");
    }

    #[test]
    fn issuer_and_audience_must_be_there_if_they_are_set() {
        let auth = auth(|jwt| {
            jwt.issuer = Some("us".into());
            jwt.audience = Some("fanfare".into());
        });
        let claims = |iss: Value, aud: Value| json!({"sub": "7", "exp": NOW + 9, "iss": iss, "aud": aud});
        assert!(check(&auth, &claims(json!("us"), json!(["x", "fanfare"]))).is_ok());
        bad(check(&auth, &claims(json!("them"), json!("fanfare"))), "iss");
        bad(check(&auth, &claims(json!("us"), json!("x"))), "aud");
        bad(check(&auth, &json!({"sub": "7", "exp": NOW + 9, "iss": "us"})), "aud");
    }

    #[test]
    fn the_header_wins_over_the_parameter_and_that_over_the_cookie() {
        let auth = auth(|_| ());
        let token = |user: &str| sign(&json!({"sub": user, "exp": NOW + 9}));
        let mut headers = HeaderMap::new();
        let user = |headers: &HeaderMap, token: Option<&str>| {
            auth.bearer(headers, Asked { token, user: None }, at(NOW))
                .map(|bearer| bearer.user.unwrap().to_string())
        };
        assert_eq!(user(&headers, None), Err(AuthError::NoToken));
        headers.insert(COOKIE, format!("a=b; fanfare_token={}; c", token("cookie")).parse().unwrap());
        headers.insert(AUTHORIZATION, "Basic eDp5".parse().unwrap());
        assert_eq!(user(&headers, None).unwrap(), "cookie");
        let carrier = |token| auth.bearer(&headers, Asked { token, user: None }, at(NOW)).unwrap().carrier;
        assert_eq!(carrier(None), Carrier::Cookie);
        assert_eq!(carrier(Some(&token("query"))), Carrier::Sent);
        assert_eq!(user(&headers, Some(&token("query"))).unwrap(), "query");
        headers.append(AUTHORIZATION, format!("bearer  {}", token("header")).parse().unwrap());
        assert_eq!(user(&headers, Some(&token("query"))).unwrap(), "header");
        headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        bad(auth.bearer(&headers, Asked::default(), at(NOW)), "two");
        headers.insert(AUTHORIZATION, "Bearer".parse().unwrap());
        bad(auth.bearer(&headers, Asked::default(), at(NOW)), "empty");
    }

    #[test]
    fn a_cookie_is_found_beside_others_of_any_bytes() {
        let auth = auth(|_| ());
        let token = sign(&json!({"sub": "7", "exp": NOW + 9}));
        let check = |cookies: &[u8]| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(cookies).unwrap())]);
            auth.bearer(&headers, Asked::default(), at(NOW))
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
        bad(check(b"fanfare_token=\xff"), "it is not a JWT");
        for none in [&b"fanfare_token"[..], b"fanfare_token=", b"fanfare_token=\"\"", b"fanfare_tokens=x"] {
            assert_eq!(check(none), Err(AuthError::NoToken), "{:?}", String::from_utf8_lossy(none));
        }
    }

    #[test]
    fn without_auth_everybody_may_do_everything_and_says_who_they_are() {
        let auth = Auth::new(&AuthConfig { mode: Some(AuthMode::None), ..AuthConfig::default() });
        let asked = |user| auth.bearer(&HeaderMap::new(), Asked { token: None, user }, at(NOW));
        assert_eq!(asked(Some("7")).unwrap().user, Some(User::new("7").unwrap()));
        let anonymous = Bearer { user: None, grants: Grants::all(), expires: None, carrier: Carrier::Reach };
        assert_eq!(asked(None).unwrap(), anonymous);
        assert!(matches!(asked(Some("")), Err(AuthError::BadUser(_))));
    }
}
