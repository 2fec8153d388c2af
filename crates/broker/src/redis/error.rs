//! Which errors of Redis pass by themselves.

use ::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::BrokerError;

/// The longest text of Redis that an error repeats.
const MAX_DETAIL: usize = 200;

/// Sorts an error of a command that was sent.
pub(super) fn sort(error: &RedisError) -> BrokerError {
    let text = describe(error);
    if lasting(error) { BrokerError::Refused(text) } else { BrokerError::Unavailable(text) }
}

/// Sorts an error of a call whose entry is given up where the error lasts: only what Redis says of the keys does. Whatever
/// else somebody has to mend is none of the entry's.
pub(super) fn sort_for_key(error: &RedisError) -> BrokerError {
    let is_full = error.detail().is_some_and(|detail| detail.contains("exhausted the last possible ID"));
    match sort(error) {
        BrokerError::Refused(text) if error.code() != Some("WRONGTYPE") && !is_full => {
            BrokerError::Unavailable(text)
        }
        sorted => sorted,
    }
}

/// Whether the connection is of no use any more: it is broken, does not answer, or leads to what is no longer the
/// primary.
pub(super) fn is_stale(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) | ErrorKind::Parse
        )
}

/// A reply that is not what the command answers.
pub(super) fn unexpected(what: &str) -> BrokerError {
    BrokerError::Refused(format!("Redis answered something else than {what}"))
}

/// The error inside a reply, if it is one.
pub(super) fn check(reply: Value) -> Result<Value, RedisError> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}

pub(super) fn is_no_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// Lasting is what the same call will meet again: everything that Redis answers to the command itself, but for the
/// states it is known to leave again.
fn lasting(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            // The only refusal of a connection that has no code of its own.
            !error.detail().is_some_and(|detail| detail.contains("max number of clients"))
        }
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::NoScript
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ExecAbort
        ),
        ErrorKind::Extension => {
            !matches!(error.code(), Some("BUSY" | "OOM" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED" | "NOGROUP"))
        }
        ErrorKind::UnexpectedReturnType | ErrorKind::InvalidClientConfig => true,
        _ => false,
    }
}

fn describe(error: &RedisError) -> String {
    let detail = error.detail().unwrap_or_default();
    let text = match error.code() {
        Some(code) => format!("{code} {detail}"),
        None => error.to_string(),
    };
    text.chars().take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> RedisError {
        let reply = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        check(reply).unwrap_err()
    }

    fn sorted(line: &str) -> BrokerError {
        sort(&error(line))
    }

    #[test]
    fn what_passes_is_told_from_what_lasts() {
        for passing in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down",
            "NOSCRIPT No matching script.",
            "CLUSTERDOWN The cluster is down",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Redis is configured to save RDB snapshots",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "EXECABORT Transaction discarded",
            "ERR max number of clients reached",
        ] {
            assert!(sorted(passing).is_passing(), "{passing}");
        }
        for lasting in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOPERM this user has no permissions to run the 'xadd' command",
            "ERR unknown command 'XADD'",
            "ERR Error running script",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "NOAUTH Authentication required.",
        ] {
            assert!(!sorted(lasting).is_passing(), "{lasting}");
        }
        for mended in [
            "NOPERM this user has no permissions",
            "NOAUTH Authentication required.",
            "ERR The user executing the script can't publish",
        ] {
            assert!(sort_for_key(&error(mended)).is_passing(), "{mended}");
        }
        for key in ["WRONGTYPE Operation against", "ERR The stream has exhausted the last possible ID"] {
            assert!(!sort_for_key(&error(key)).is_passing(), "{key}");
        }
        assert!(sorted("WRONGTYPE Operation against").to_string().contains("WRONGTYPE"));
    }
}
