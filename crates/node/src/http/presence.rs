//! `GET /v1/channels/{channel}/presence`: who follows a channel.

use axum::{Extension, Json};
use fanfare_api::presence::ChannelPresence;
use fanfare_broker::session::{Presence, UserPage};
use fanfare_protocol::rights::Right;
use fanfare_protocol::{Channel, User};

use super::Side;
use super::channel_call::{AuthenticCall, ChannelCall};
use super::problem::{Code, Problem};
use crate::audit::{Effect, trail};
use crate::auth::Bearer;

/// Maximum number of users of one call.
const MAX_USERS: usize = 1000;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the request is invalid, if the bearer may not see what it asks for, if the presence of the channel is not recorded, or
/// if the broker is unavailable.
pub async fn presence(
    Extension(side): Extension<Side>,
    call: ChannelCall,
) -> Result<Json<ChannelPresence>, Problem> {
    let AuthenticCall { app, channel, params, bearer } = call.authenticate(&["users", "after"]).await?;
    let listed = params.count("users", MAX_USERS)?;
    let after = params.get("after").map(User::new).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("after=: {error}")))?;
    if after.is_some() && listed.is_none() {
        return Err(Problem::bad_request("after= needs users=, the number of users to list"));
    }
    check(&bearer, side, &channel, listed.is_some())?;
    if !app.presence.records(&channel) {
        let detail = format!(
            "the presence of {channel} is not recorded: no pattern of session.presence_channels matches it"
        );
        return Err(Problem::new(Code::NotFound, detail));
    }
    // One more, which says whether there are more.
    let page = UserPage { after, limit: listed.map_or(0, |count| count + 1) };
    let found = app.broker.presence(&channel, &page).await?;
    let answer = Json(answer(&channel, found, listed));
    trail::note_effect(Effect { channel: Some(channel), ..Effect::default() });
    Ok(answer)
}

/// Checks that the bearer may see how many follow a channel, and with `lists` also who.
fn check(bearer: &Bearer, side: Side, channel: &Channel, lists: bool) -> Result<(), Problem> {
    let looks = bearer.grants.admin.has(Right::Look);
    if (looks && side != Side::Public) || (!lists && bearer.grants.may_publish(channel)) {
        return Ok(());
    }
    let wanted = if lists { "the users of channels" } else { "the presence of other channels" };
    Err(match (looks, lists) {
        (true, _) => {
            Problem::new(Code::NotFound, format!("{wanted} is served on the admin listener (admin.listen)"))
        }
        (false, true) => Problem::no_grant("the users of a channel need admin, or its right look"),
        (false, false) => Problem::no_grant(format!(
            "the presence of {channel} needs a grant to publish to it, or admin, or its right look"
        )),
    })
}

fn answer(channel: &Channel, found: Presence, listed: Option<usize>) -> ChannelPresence {
    let Presence { sessions, users, list } = found;
    let mut ids: Vec<_> = list.iter().map(|user| user.id().to_owned()).collect();
    let more = listed.is_some_and(|count| ids.len() > count);
    ids.truncate(listed.unwrap_or_default());
    let next = if more { ids.last().cloned() } else { None };
    let channel = channel.as_str().to_owned();
    ChannelPresence { channel, sessions, users, user_ids: listed.map(|_| ids), next }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use fanfare_broker::session::{Claim, SessionClient};
    use fanfare_broker::{Broker, BrokerSettings, MemoryBroker, NodeId};
    use fanfare_config::auth::AuthMode;
    use fanfare_config::secret::Secret;
    use fanfare_protocol::{Grants, Pattern, SessionId};
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::Carrier;
    use crate::http::tests::{Calls, SECRET, app_on, token};

    async fn follows(broker: &dyn Broker, user: &str, channels: &[&str]) {
        let present_in = channels.iter().map(|name| Channel::new(name).unwrap()).collect();
        let claim = Claim {
            user: User::new(user).unwrap(),
            session: SessionId::random(),
            node: NodeId::new("n").unwrap(),
            client: SessionClient { present_in, ..SessionClient::from("127.0.0.1:9") },
            limit: 9,
        };
        broker.claim(&claim).await.unwrap();
    }

    async fn calls() -> Calls {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(BrokerSettings::default()));
        for user in ["b", "a", "c", "a"] {
            follows(&*broker, user, &["room:1"]).await;
        }
        Calls::of(app_on(broker, |config| {
            config.auth.mode = Some(AuthMode::Jwt);
            config.auth.jwt.secret = Some(Secret::new(SECRET.to_owned()));
            config.session.presence_channels = [Pattern::new("room:*").unwrap()].into_iter().collect();
        }))
    }

    #[tokio::test]
    async fn a_publisher_sees_how_many_follow_its_channels_and_who_looks_also_who() {
        let calls = calls().await;
        let publisher = token("app", &json!({"publish": ["room:*"]}));
        let subscriber = token("7", &json!({"subscribe": ["room:*"]}));
        let looks = token("ops", &json!({"admin": ["look"]}));
        let path = "/v1/channels/room:1/presence";
        let count = json!({"channel": "room:1", "sessions": 4, "users": 3});
        assert_eq!(calls.call("GET", path, &publisher).await.body, count);
        assert_eq!(calls.call("GET", path, &looks).await.body, count);
        let refused = calls.call("GET", path, &subscriber).await;
        assert_eq!((refused.status, refused.code()), (403, "no-grant"));
        let refused = calls.call("GET", &format!("{path}?users=2"), &publisher).await;
        assert_eq!((refused.status, refused.code()), (403, "no-grant"));
        let page =
            async |query: &str| -> Value { calls.call("GET", &format!("{path}?{query}"), &looks).await.body };
        let first = page("users=2").await;
        assert_eq!((&first["user_ids"], &first["next"]), (&json!(["a", "b"]), &json!("b")));
        let second = page("users=2&after=b").await;
        assert_eq!((&second["user_ids"], &second["next"]), (&json!(["c"]), &Value::Null));
        let whole = page("users=3").await;
        assert_eq!((&whole["user_ids"], &whole["next"]), (&json!(["a", "b", "c"]), &Value::Null));
        let empty = calls.call("GET", "/v1/channels/room:2/presence?users=1", &looks).await.body;
        assert_eq!(empty, json!({"channel": "room:2", "sessions": 0, "users": 0, "user_ids": []}));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let calls = calls().await;
        let admin = token("boss", &json!({"admin": true}));
        for (path, status, code, word) in [
            ("doc:1/presence", 404, "not-found", "session.presence_channels"),
            ("room:1/presence?users=0", 400, "bad-request", "from 1 to 1000"),
            ("room:1/presence?users=1001", 400, "bad-request", "from 1 to 1000"),
            ("room:1/presence?after=a", 400, "bad-request", "users="),
            ("room:1/presence?users=1&after=a%20b", 400, "bad-request", "after="),
            ("room:1/presence?limit=1", 400, "bad-request", "limit"),
            ("room%201/presence", 400, "bad-channel", "' '"),
            ("%FF/presence", 400, "bad-channel", "UTF-8"),
        ] {
            let answer = calls.call("GET", &format!("/v1/channels/{path}"), &admin).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{path}");
            assert!(answer.body["detail"].as_str().unwrap().contains(word), "{path}: {}", answer.body);
        }
    }

    #[test]
    fn the_right_to_look_counts_on_the_admin_listener() {
        let channel = Channel::new("room:1").unwrap();
        let bearer = |grants: Value| Bearer {
            user: None,
            grants: serde_json::from_value::<Grants>(grants).unwrap(),
            expires: Some(SystemTime::now()),
            stamp: None,
            carrier: Carrier::Sent,
            key: None,
        };
        let code = |grants: Value, side, lists| {
            check(&bearer(grants), side, &channel, lists).map_err(|problem| problem.code)
        };
        let (publisher, looks) = (json!({"publish": ["room:*"]}), json!({"admin": ["look"]}));
        for side in [Side::Both, Side::Public, Side::Admin] {
            assert_eq!(code(publisher.clone(), side, false), Ok(()));
            assert_eq!(code(publisher.clone(), side, true), Err(Code::NoGrant));
            assert_eq!(code(json!({"publish": ["doc:*"]}), side, false), Err(Code::NoGrant));
            for lists in [false, true] {
                let wanted = if side == Side::Public { Err(Code::NotFound) } else { Ok(()) };
                assert_eq!(code(looks.clone(), side, lists), wanted);
            }
            assert_eq!(code(json!({"admin": true}), side, false), Ok(()), "an admin may publish");
        }
    }
}
