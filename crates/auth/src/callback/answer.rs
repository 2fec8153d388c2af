//! An answer of the application, and how long it is kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_protocol::json;
use fanfare_protocol::revocation::TokenStamp;
use fanfare_protocol::{Grants, User};
use reqwest::StatusCode;
use reqwest::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde::{Deserialize, Deserializer};

use super::Outcome;
use crate::http_client::{self, RequestError, Response};
use crate::identity::Identity;

/// Bytes that an answer takes besides its texts: its key, and the cache's own data.
const BYTES: usize = 512;
/// Longest time for which a refusal is kept: a client that logs in meanwhile may keep its cookie.
const REFUSAL: Duration = Duration::from_secs(10);

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// Too many requests wait.
    #[error("no request could be sent in time, because auth.callback.requests are under way")]
    Busy,
    /// There is no whole response.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Another status than 200, 401 and 403.
    #[error("the response has the status {}", http_client::shown(*.0))]
    Status(StatusCode),
    /// Not JSON.
    #[error("the response is not of the type application/json")]
    MediaType,
    /// Compressed, which the node did not ask for.
    #[error("the response has a Content-Encoding, which the node does not read")]
    Encoded,
    /// JSON of another form. The reason has nothing of the answer but names of members.
    #[error("the response is not an answer: {0}")]
    Form(String),
}

/// Bounds of what the application says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Longest time for which an answer is kept.
    pub(super) max_age: Duration,
    /// Longest time for which an identity holds.
    pub(super) max_lifetime: Duration,
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// Time for which it is kept.
    pub(super) keep: Duration,
    /// Memory that it takes, in bytes.
    pub(super) bytes: u32,
}

/// The body of a response with status 200.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    user: User,
    #[serde(default, deserialize_with = "object")]
    grants: Grants,
    /// Seconds for which the identity holds. Not null: it is what programs write in place of a number that is none.
    #[serde(default, deserialize_with = "number")]
    expires_in: Option<u64>,
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grants, D::Error> {
    json::ByName::deserialize(deserializer).map(|json::ByName(grants)| grants)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

impl Answer {
    /// Creates an answer whose user and grants take `texts` bytes of memory.
    pub(super) fn new(outcome: Outcome, keep: Duration, texts: usize) -> Self {
        let bytes = u32::try_from(BYTES + texts).unwrap_or(u32::MAX);
        Self { outcome, keep, bytes }
    }
}

/// Reads a response to a request that was sent at a time, and took a while.
pub(super) fn read(
    response: &Response,
    (asked, took): (SystemTime, Duration),
    bounds: Bounds,
) -> Result<Answer, AnswerError> {
    let keep = kept_for(&response.headers).min(bounds.max_age).saturating_sub(took);
    let refused = |outcome| Ok(Answer::new(outcome, keep.min(REFUSAL), 0));
    match response.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return refused(Outcome::Unknown),
        StatusCode::FORBIDDEN => return refused(Outcome::Forbidden),
        status => return Err(AnswerError::Status(status)),
    }
    if !is_json(&response.headers) {
        return Err(AnswerError::MediaType);
    }
    if response.headers.contains_key(CONTENT_ENCODING) {
        return Err(AnswerError::Encoded);
    }
    let text = json::text(&response.body).map_err(|error| AnswerError::Form(error.to_string()))?;
    let fault = |_| AnswerError::Form(json::fault_without_value::<Body>(text));
    let mut body: Body = json::object(text).map_err(fault)?;
    let holds = body.expires_in.map_or(bounds.max_lifetime, Duration::from_secs).min(bounds.max_lifetime);
    // Also one that ended before its answer came. What is kept must not outlive what it says. A cache on the way has the
    // application's word of an earlier time.
    let old = age(&response.headers)
        .ok_or_else(|| AnswerError::Form("Age: it is not a number of seconds".to_owned()))?;
    let left = holds.saturating_sub(took).saturating_sub(old);
    if left.is_zero() {
        return Err(AnswerError::Form("expires_in: the identity has expired".to_owned()));
    }
    let texts = body.user.channel().as_str().len() + body.grants.compact();
    let said = asked.checked_sub(old).unwrap_or(SystemTime::UNIX_EPOCH);
    let issued = said.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let identity = Identity {
        user: body.user,
        grants: body.grants,
        expires: said + holds,
        stamp: TokenStamp { id: None, issued: u64::try_from(issued).unwrap_or(u64::MAX) },
    };
    let allowed = Outcome::Allowed(Arc::new(identity));
    Ok(Answer::new(allowed, keep.min(left), texts))
}

/// Returns for how long an answer may be kept: `max-age`, without the time that a cache on the way had it, unless the response
/// forbids it.
fn kept_for(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let mut directives = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    // Also with names of fields, which some caches take for all of the response (RFC 9111, section 5.2.2.4).
    let forbids = |directive: &str| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        ["no-store", "no-cache"].iter().any(|no| name.eq_ignore_ascii_case(no))
    };
    if directives.any(forbids) {
        return Duration::ZERO;
    }
    http_client::max_age(headers).unwrap_or_default().saturating_sub(age(headers).unwrap_or(Duration::MAX))
}

/// Returns `Age` (RFC 9111, section 5.1), zero without one; `None` if it is not a number.
fn age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(AGE).into_iter();
    lines
        .map(|value| value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs))
        .try_fold(Duration::ZERO, |oldest, age| Some(oldest.max(age?)))
}

/// Returns whether the response has one media type, which is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).into_iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_age: Duration::from_mins(1), max_lifetime: Duration::from_hours(1) };

    fn response(status: u16, body: &str, fields: &[(&'static str, &str)]) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        for (name, value) in fields {
            if *name == "content-type" && !value.starts_with("also ") {
                headers.remove(CONTENT_TYPE);
            }
            headers.append(*name, value.trim_start_matches("also ").parse().unwrap());
        }
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    fn answer(body: &str, fields: &[(&'static str, &str)]) -> Result<Answer, String> {
        let asked = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        read(&response(200, body, fields), (asked, Duration::ZERO), BOUNDS).map_err(|error| error.to_string())
    }

    fn identity(body: &str) -> Identity {
        match answer(body, &[]).unwrap().outcome {
            Outcome::Allowed(identity) => (*identity).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_names_the_user_and_how_long_it_holds() {
        let of = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let whole = identity(r#"{"user":"42","grants":{"subscribe":["room:*"]},"expires_in":5}"#);
        assert_eq!((whole.user.id(), whole.expires), ("42", of(105)));
        assert_eq!(whole.stamp, TokenStamp { id: None, issued: 100_000 });
        let least = identity(r#"{"user":"42"}"#);
        assert_eq!((least.grants, least.expires), (Grants::default(), of(3700)));
        assert_eq!(identity(r#"{"user":"42","expires_in":99999999999999}"#).expires, of(3700));
    }

    #[test]
    fn an_answer_is_kept_for_as_long_as_the_application_says() {
        let kept = |value: &str, expires: &str| {
            let body = format!(r#"{{"user":"42"{expires}}}"#);
            answer(&body, &[("cache-control", value)]).unwrap().keep.as_secs()
        };
        for (value, expires, seconds) in [
            ("private, max-age=20", "", 20),
            ("max-age=20", r#","expires_in":5"#, 5),
            ("max-age=9999", "", 60),
            ("no-store, max-age=20", "", 0),
            ("max-age=20, No-Cache", "", 0),
            ("max-age=20, no-cache=\"set-cookie\"", "", 0),
            ("private", "", 0),
        ] {
            assert_eq!(kept(value, expires), seconds, "{value}");
        }
        for (said, seconds) in [("max-age=9", 9), ("max-age=60", 10), ("", 0)] {
            let response = response(401, "", &[("cache-control", said)]);
            let refused = read(&response, (SystemTime::now(), Duration::ZERO), BOUNDS).unwrap();
            assert_eq!(refused.keep.as_secs(), seconds, "{said}");
            assert!(matches!(refused.outcome, Outcome::Unknown));
        }
    }

    #[test]
    fn the_time_that_a_cache_on_the_way_had_an_answer_counts() {
        let aged = |age| {
            let fields = [("cache-control", "max-age=20"), ("age", age)];
            answer(r#"{"user":"42","expires_in":50}"#, &fields)
        };
        for (age, seconds) in [("0", 20), ("5", 15), ("20", 0), ("49", 0)] {
            let Answer { keep, outcome: Outcome::Allowed(identity), .. } = aged(age).unwrap() else {
                panic!("{age}")
            };
            let said = 100 - age.parse::<u64>().unwrap();
            assert_eq!(keep.as_secs(), seconds, "{age}");
            // A revocation of what was issued since then includes it.
            assert_eq!(identity.stamp.issued, said * 1000, "{age}");
            assert_eq!(identity.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(said + 50), "{age}");
        }
        for (age, word) in [("50", "expires_in"), ("-1", "Age"), ("soon", "Age"), ("1, 2", "Age")] {
            assert!(aged(age).unwrap_err().contains(word), "{age}");
        }
    }

    #[test]
    fn an_answer_that_took_long_is_kept_for_less_and_never_after_its_identity_has_ended() {
        let asked = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let late = response(200, r#"{"user":"42","expires_in":5}"#, &[("cache-control", "max-age=60")]);
        let after = |seconds| read(&late, (asked, Duration::from_secs(seconds)), BOUNDS);
        assert_eq!(after(3).unwrap().keep.as_secs(), 2);
        assert!(after(5).unwrap_err().to_string().contains("expires_in"));
        // `max-age` is counted from the request too.
        for status in [200, 401] {
            let late = response(status, r#"{"user":"42"}"#, &[("cache-control", "max-age=9")]);
            let kept = |seconds| read(&late, (asked, Duration::from_secs(seconds)), BOUNDS).unwrap().keep;
            assert_eq!((kept(4).as_secs(), kept(9)), (5, Duration::ZERO), "{status}");
        }
    }

    #[test]
    fn a_refused_answer_is_described_without_its_values() {
        for (body, words) in [
            (r#"{"user":"42","expires_in":"hush"}"#, "expires_in: expected u64"),
            (r#"{"user":"42","grants":{"subscribe":"hush"}}"#, "grants.subscribe: expected"),
            (r#"{"user":"42","grants":{"admin":["hush"]}}"#, "true, false or a list"),
            (r#"{"user":"hush hush"}"#, "user: the user id has"),
            (r#"{"user":4242}"#, "user: expected"),
        ] {
            let error = answer(body, &[]).unwrap_err();
            assert!(error.contains(words) && !error.contains("hush") && !error.contains("4242"), "{error}");
        }
    }

    #[test]
    fn whatever_else_it_says_is_refused() {
        for (body, word) in [
            ("", "EOF"),
            ("null", ""),
            ("[]", ""),
            (r#"["42",{}]"#, ""),
            (r#"{"user":"42"} x"#, ""),
            (r#"{"user":""}"#, "user"),
            (r#"{"user":"a b"}"#, "user"),
            (r#"{"user":42}"#, ""),
            (r#"{"user":null}"#, ""),
            (r#"{"grants":{"admin":true}}"#, "user"),
            (r#"{"user":"42","user":"43"}"#, "user"),
            (r#"{"user":"42","grants":{"root":true}}"#, "root"),
            (r#"{"user":"42","grants":{"subscribe":"*"}}"#, ""),
            (r#"{"user":"42","grants":{"subscribe":["a b"]}}"#, ""),
            (r#"{"user":"42","grants":{"admin":"true"}}"#, ""),
            (r#"{"user":"42","expires_in":0}"#, "expires_in"),
            (r#"{"user":"42","expires_in":-5}"#, ""),
            (r#"{"user":"42","expires_in":"5"}"#, ""),
            (r#"{"user":"42","expires_in":null}"#, "expires_in"),
            (r#"{"user":"42","grants":[["*"],["*"],true]}"#, "grants"),
            (r#"{"user":"42","grants":{"subscribe":["a"],"subscribe":["*"]}}"#, "subscribe"),
            (r#"{"User":"42"}"#, "User"),
            (r#"{"user":"42","\u0075ser":"43"}"#, "user"),
            (r#"{"user":"42","admin":true}"#, "admin"),
        ] {
            let error = answer(body, &[]).unwrap_err();
            assert!(error.contains(word), "{body}: {error}");
        }
        for (name, value, word) in [
            ("content-type", "text/html", "application/json"),
            ("content-type", "text/plain", "application/json"),
            ("content-type", "also text/html", "application/json"),
            ("content-encoding", "gzip", "Content-Encoding"),
        ] {
            assert!(answer(r#"{"user":"42"}"#, &[(name, value)]).unwrap_err().contains(word), "{value}");
        }
        for status in [201, 204, 301, 302, 304, 400, 404, 429, 500, 503] {
            let response = response(status, r#"{"user":"42"}"#, &[]);
            let error = read(&response, (SystemTime::now(), Duration::ZERO), BOUNDS).unwrap_err();
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
    }
}
