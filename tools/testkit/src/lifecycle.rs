//! What the lifecycle stream tells of sessions and users.

use std::collections::BTreeMap;

use crate::deadline::{SOON, until};
use crate::redis::Redis;

/// The stream's key.
pub const KEY: &str = "fanfare:lifecycle";

/// One entry's fields.
pub type Fields = BTreeMap<String, String>;

/// Returns all entries of the lifecycle stream, in order.
pub async fn all(redis: &Redis) -> Vec<Fields> {
    redis.stream(KEY).await.into_iter().map(|(_, fields)| fields.into_iter().collect()).collect()
}

/// Returns the entries of a user as short texts: `session.moved a>b`, `session.disconnected closed`, `user.offline`.
pub async fn of_user(redis: &Redis, user: &str) -> Vec<String> {
    let all = all(redis).await;
    all.iter().filter(|fields| fields.get("user").is_some_and(|of| of == user)).map(short).collect()
}

fn short(fields: &Fields) -> String {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let more = match field("event") {
        "session.connected" => field("node").to_owned(),
        "session.moved" => format!("{}>{}", field("from"), field("node")),
        "session.disconnected" => field("reason").to_owned(),
        _ => String::new(),
    };
    format!("{} {more}", field("event")).trim_end().to_owned()
}

/// Waits until the user has exactly these entries.
///
/// # Panics
///
/// When it is not soon.
pub async fn tells(redis: &Redis, user: &str, wanted: &[&str]) {
    until(&format!("the lifecycle of {user} is {wanted:?}"), SOON, async || {
        let events = of_user(redis, user).await;
        if events == wanted { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}
