//! Classification of Redis errors.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use ::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::{BrokerError, Condition};

/// Maximum length of Redis's text in an error.
const MAX_DETAIL: usize = 200;

/// Classifies the error of a command.
pub(super) fn sort(error: &RedisError) -> BrokerError {
    let text = describe(error);
    match condition(error) {
        Some(condition) => BrokerError::Condition { condition, detail: text },
        None if lasting(error) => BrokerError::Refused(text),
        None => BrokerError::Unavailable(text),
    }
}

/// Classifies the error of a connection attempt. It always passes, since the cause may be fixed at the other end.
pub(super) fn sort_connecting(error: &RedisError) -> BrokerError {
    match sort(error) {
        BrokerError::Refused(text) | BrokerError::Unavailable(text) => match wrong_server(error) {
            Some(condition) => BrokerError::Condition { condition, detail: text },
            None => BrokerError::Unavailable(format!("cannot connect: {text}")),
        },
        condition @ BrokerError::Condition { .. } => condition,
    }
}

/// Returns what the error of a connection attempt says of the server, if it is not a Redis that a node can use.
fn wrong_server(error: &RedisError) -> Option<Condition> {
    let no_hello = |detail: &str| detail.contains("unknown command") && detail.contains("HELLO");
    if error.kind() == ErrorKind::Parse {
        Some(Condition::NotRedis)
    } else if let Some(tls) = tls(error) {
        Some(if is_about_client(tls) { Condition::NoCertificate } else { Condition::NoTls })
    } else if no_hello(error.detail().unwrap_or_default()) || error.kind() == ErrorKind::RESP3NotSupported {
        Some(Condition::TooOld)
    } else {
        None
    }
}

/// Returns the error of TLS that ended a connection.
fn tls(error: &RedisError) -> Option<&rustls::Error> {
    // The client library keeps the error of the socket in an `Arc`, and the socket keeps that of TLS.
    let socket =
        error.source().and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let socket = socket.and_then(|socket| socket.downcast_ref::<io::Error>());
    socket.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

/// Returns whether the server refuses the client's certificate, or asks for one. Alerts: RFC 8446, section 6.2.
fn is_about_client(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let rustls::Error::AlertReceived(alert) = error else { return false };
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            // OpenSSL, of an authority that has the name of a trusted one and another key.
            | Alert::DecryptError
            | Alert::AccessDenied
    )
}

/// Classifies the error of a call for an intake entry, which is rejected if the error is lasting. Only errors of the
/// keys are lasting; other errors are not caused by the entry.
pub(super) fn sort_for_key(error: &RedisError) -> BrokerError {
    let is_full = error.detail().is_some_and(|detail| detail.contains("exhausted the last possible ID"));
    match sort(error) {
        BrokerError::Refused(text) if error.code() != Some("WRONGTYPE") && !is_full => {
            BrokerError::Unavailable(text)
        }
        sorted => sorted,
    }
}

/// Returns whether the connection must be replaced: it is broken, does not answer, or is connected to a server that
/// is no longer the primary.
pub(super) fn is_stale(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) | ErrorKind::Parse
        )
}

/// Returns the error for an unexpected reply.
pub(super) fn unexpected(what: &str) -> BrokerError {
    BrokerError::Refused(format!("unexpected reply from Redis: expected {what}"))
}

/// Returns the error inside a reply, if it is one.
pub(super) fn check(reply: Value) -> Result<Value, RedisError> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}

/// Converts one reply of a pipeline: an error reply is an error.
pub(super) fn result(reply: Value) -> Result<Value, BrokerError> {
    check(reply).map_err(|error| sort(&error))
}

pub(super) fn is_no_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// Returns the state of Redis that an error indicates.
fn condition(error: &RedisError) -> Option<Condition> {
    let says = |text: &str| error.detail().is_some_and(|detail| detail.contains(text));
    let known = match error.kind() {
        ErrorKind::AuthenticationFailed => Some(Condition::NotAuthenticated),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => Some(Condition::Loading),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Some(Condition::ReadOnly),
        ErrorKind::Server(ServerErrorKind::MasterDown) => Some(Condition::PrimaryDown),
        ErrorKind::Server(ServerErrorKind::NoPerm) => Some(Condition::NoPermission),
        ErrorKind::Server(
            ServerErrorKind::ClusterDown
            | ServerErrorKind::CrossSlot
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => Some(Condition::Cluster),
        _ => None,
    };
    known.or(match error.code() {
        Some("OOM") => Some(Condition::OutOfMemory),
        Some("MISCONF") => Some(Condition::CannotSave),
        Some("NOREPLICAS") => Some(Condition::TooFewReplicas),
        Some("BUSY") => Some(Condition::Busy),
        Some("NOAUTH" | "WRONGPASS") => Some(Condition::NotAuthenticated),
        Some("DENIED") => Some(Condition::Protected),
        // Errors without a code.
        Some("ERR") if says("max number of clients") => Some(Condition::TooManyClients),
        Some("ERR") if says("The user executing the script can't") => Some(Condition::NoPermission),
        _ => None,
    })
}

/// Returns whether a retry of the call will fail again. That is the case for all errors of the command itself, except
/// those of temporary states.
fn lasting(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::NoScript | ServerErrorKind::TryAgain | ServerErrorKind::ExecAbort
        ),
        ErrorKind::Extension => !matches!(error.code(), Some("UNBLOCKED" | "NOGROUP")),
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
    // What follows are the arguments of a command that Redis does not know: those of HELLO have the password.
    let text = text.split(", with args beginning with").next().unwrap_or_default();
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
    fn the_arguments_of_an_unknown_command_are_not_shown() {
        let known = "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'hunter2' ";
        for error in [sorted(known), sort_connecting(&error(known))] {
            let text = error.to_string();
            assert!(text.contains("unknown command 'HELLO'") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_passes_is_distinguished_from_what_lasts() {
        for passing in [
            "NOSCRIPT No matching script.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "EXECABORT Transaction discarded",
        ] {
            assert!(sorted(passing).is_passing(), "{passing}");
        }
        for lasting in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR unknown command 'XADD'",
            "ERR Error running script",
        ] {
            assert!(!sorted(lasting).is_passing(), "{lasting}");
        }
        for key in ["WRONGTYPE Operation against", "ERR The stream has exhausted the last possible ID"] {
            assert!(!sort_for_key(&error(key)).is_passing(), "{key}");
        }
        assert!(sort_for_key(&error("ERR unknown command 'XADD'")).is_passing());
        assert!(sorted("WRONGTYPE Operation against").to_string().contains("WRONGTYPE"));
    }

    #[test]
    fn an_alert_about_the_clients_certificate_is_told_from_other_errors_of_tls() {
        use rustls::{AlertDescription as Alert, CertificateError, Error};
        let condition = |error: Error| match sort_connecting(&io::Error::other(error).into()) {
            BrokerError::Condition { condition, .. } => condition,
            other => panic!("{other:?}"),
        };
        for alert in [
            Alert::CertificateRequired,
            Alert::CertificateExpired,
            Alert::CertificateRevoked,
            Alert::UnknownCA,
            Alert::DecryptError,
        ] {
            assert_eq!(condition(Error::AlertReceived(alert)), Condition::NoCertificate, "{alert:?}");
        }
        for error in [
            Error::AlertReceived(Alert::ProtocolVersion),
            Error::AlertReceived(Alert::HandshakeFailure),
            Error::InvalidCertificate(CertificateError::Expired),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
        ] {
            assert_eq!(condition(error.clone()), Condition::NoTls, "{error:?}");
        }
    }

    #[test]
    fn a_redis_that_refuses_is_not_away() {
        for (line, wanted) in [
            ("LOADING Redis is loading the dataset in memory", Condition::Loading),
            ("BUSY Redis is busy running a script", Condition::Busy),
            ("OOM command not allowed when used memory > 'maxmemory'.", Condition::OutOfMemory),
            ("READONLY You can't write against a read only replica.", Condition::ReadOnly),
            ("MASTERDOWN Link with MASTER is down", Condition::PrimaryDown),
            ("NOREPLICAS Not enough good replicas to write.", Condition::TooFewReplicas),
            ("MISCONF Redis is configured to save RDB snapshots", Condition::CannotSave),
            ("ERR max number of clients reached", Condition::TooManyClients),
            ("NOAUTH Authentication required.", Condition::NotAuthenticated),
            ("WRONGPASS invalid username-password pair or user is disabled.", Condition::NotAuthenticated),
            ("NOPERM this user has no permissions to run the 'xadd' command", Condition::NoPermission),
            ("ERR The user executing the script can't publish", Condition::NoPermission),
            ("CLUSTERDOWN The cluster is down", Condition::Cluster),
            ("CROSSSLOT Keys in request don't hash to the same slot", Condition::Cluster),
            ("MOVED 3999 127.0.0.1:6381", Condition::Cluster),
            ("DENIED Redis is running in protected mode because", Condition::Protected),
        ] {
            let sorted = sorted(line);
            assert!(
                matches!(&sorted, BrokerError::Condition { condition, .. } if *condition == wanted),
                "{line}: {sorted:?}"
            );
            let text = sorted.to_string();
            assert!(text.contains(wanted.remedy()) && !text.contains("unavailable"), "{text}");
            assert_eq!(sort_connecting(&error(line)), sorted);
        }
    }
}
