//! Errors of the broker, and whether a retry can help.

/// A call that the broker did not carry out, or of which it is not known whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No answer: no connection, a time-out, a connection that broke. Trying again helps; the call may have been
    /// carried out.
    #[error("Redis unavailable: {0}")]
    Unavailable(String),
    /// The broker answers and carries nothing of this kind out, for a reason that has nothing to do with the call.
    /// Trying again helps once the condition is over. The call was not carried out.
    #[error("{condition}: {} (Redis: {detail})", .condition.remedy())]
    Condition {
        /// The state that Redis is in.
        condition: Condition,
        /// What Redis said, for the log.
        detail: String,
    },
    /// Lasting: a key of another type, a command that is not known. Trying again is useless until an operator changes
    /// something.
    #[error("refused by Redis: {0}")]
    Refused(String),
}

impl BrokerError {
    /// Returns whether trying again may help.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// Returns what strangers may read.
    pub fn outage(&self) -> Outage {
        match self {
            Self::Unavailable(_) => Outage::NoAnswer,
            Self::Condition { condition, .. } => Outage::Condition(*condition),
            Self::Refused(_) => Outage::Refused,
        }
    }
}

/// Why the broker does not carry out calls, in fixed words: without addresses and without what Redis said, which are for
/// the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// [`BrokerError::Unavailable`].
    #[error("Redis does not answer")]
    NoAnswer,
    /// [`BrokerError::Condition`].
    #[error(transparent)]
    Condition(Condition),
    /// [`BrokerError::Refused`].
    #[error("Redis refuses the node's commands; see the node's log")]
    Refused,
}

impl Outage {
    /// Returns whether it may end without an operator.
    pub fn ends_by_itself(self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::Condition(condition) => condition.ends_by_itself(),
            Self::Refused => false,
        }
    }
}

/// A state in which Redis answers, and refuses what a node needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Condition {
    /// `OOM`.
    #[error("Redis is out of memory")]
    OutOfMemory,
    /// `MISCONF`.
    #[error("Redis cannot save its data and refuses writes")]
    CannotSave,
    /// `NOREPLICAS`.
    #[error("Redis has too few connected replicas and refuses writes")]
    TooFewReplicas,
    /// `READONLY`.
    #[error("Redis is a read-only replica")]
    ReadOnly,
    /// `LOADING`.
    #[error("Redis is loading its dataset")]
    Loading,
    /// `BUSY`.
    #[error("Redis is busy running a script")]
    Busy,
    /// `MASTERDOWN`.
    #[error("Redis is a replica that has lost its primary")]
    PrimaryDown,
    /// `ERR max number of clients reached`.
    #[error("Redis has reached its maximum number of clients")]
    TooManyClients,
    /// `NOAUTH`, `WRONGPASS`.
    #[error("Redis rejects the user or password of redis.url")]
    NotAuthenticated,
    /// `NOPERM`.
    #[error("the Redis user of redis.url lacks permissions that a node needs")]
    NoPermission,
    /// `CLUSTERDOWN`, `CROSSSLOT`, `MOVED`, `ASK`, or `mode cluster` in the answer to `HELLO`.
    #[error("this Redis is a Redis Cluster, which Fanfare does not support yet")]
    Cluster,
    /// `mode sentinel` in the answer to `HELLO`.
    #[error("redis.url names a Redis Sentinel, not a primary")]
    Sentinel,
    /// The version in the answer to `HELLO`, or no such command.
    #[error("this Redis is older than version 7, which Fanfare needs")]
    TooOld,
    /// `DENIED`.
    #[error("Redis is in protected mode and refuses connections from other machines")]
    Protected,
    /// An answer of another protocol.
    #[error("the server at redis.url does not speak the protocol of Redis")]
    NotRedis,
    /// The TLS handshake failed.
    #[error("the TLS handshake with Redis failed")]
    NoTls,
    /// An alert of TLS about the client's certificate.
    #[error("Redis requires a client certificate, and this node shows none or one that Redis rejects")]
    NoCertificate,
}

impl Condition {
    /// Returns what an operator does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::OutOfMemory => "raise maxmemory, or find what uses the memory",
            Self::CannotSave => "check the log and the disk of Redis",
            Self::TooFewReplicas => "restore the replicas, or lower min-replicas-to-write",
            Self::ReadOnly => "redis.url must point to the primary",
            Self::Loading => "wait until the dataset is loaded",
            Self::Busy => "wait, or stop the script with SCRIPT KILL or FUNCTION KILL",
            Self::PrimaryDown => "restore the primary, or promote a replica",
            Self::TooManyClients => "raise maxclients, or find which clients hold the connections",
            Self::NotAuthenticated => "correct the user and password in redis.url",
            Self::NoPermission => "grant them with ACL SETUSER; ACL LOG shows what was denied",
            Self::Cluster => "use a primary with replicas (cluster-enabled no)",
            Self::Sentinel => "redis.url must name the primary",
            Self::TooOld => "upgrade Redis",
            Self::Protected => "set a password in Redis and in redis.url",
            Self::NotRedis => "correct the host and port in redis.url; a port with TLS needs rediss://",
            Self::NoTls => {
                "check redis.ca, the certificate of Redis, and whether its port has TLS; a port without TLS needs redis://"
            }
            Self::NoCertificate => {
                "set redis.certificate and redis.key to a certificate that is valid now and of an authority that Redis trusts"
            }
        }
    }

    /// Returns whether it may end without an operator.
    pub fn ends_by_itself(self) -> bool {
        match self {
            Self::OutOfMemory
            | Self::CannotSave
            | Self::TooFewReplicas
            | Self::ReadOnly
            | Self::Loading
            | Self::Busy
            | Self::PrimaryDown
            | Self::TooManyClients => true,
            Self::NotAuthenticated
            | Self::NoPermission
            | Self::Cluster
            | Self::Sentinel
            | Self::TooOld
            | Self::Protected
            | Self::NotRedis
            | Self::NoTls
            | Self::NoCertificate => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_read_neither_addresses_nor_what_redis_said() {
        let secret = "10.0.0.1: user ann, redis.internal";
        for error in [
            BrokerError::Unavailable(secret.into()),
            BrokerError::Condition { condition: Condition::NoPermission, detail: secret.into() },
            BrokerError::Refused(secret.into()),
        ] {
            assert!(error.to_string().contains(secret));
            let public = error.outage().to_string();
            assert!(
                public.contains("Redis") && !public.contains("10.0.0.1") && !public.contains("ann"),
                "{public}"
            );
        }
    }
}
