//! What can go wrong with a broker, and whether trying again helps.

/// A call that the broker did not carry out, or of which it is not known whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No answer: no connection, a time-out, a connection that broke. Trying again helps; the call may have been carried out.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The broker answers and carries nothing of this kind out, for a reason that has nothing to do with the call. Trying
    /// again helps once the condition is over. The call was not carried out.
    #[error("{condition}: {} (Redis says: {detail})", .condition.remedy())]
    Condition {
        /// The state that Redis is in.
        condition: Condition,
        /// What Redis said, for the log.
        detail: String,
    },
    /// Lasting: a key of another type, a command that is not known. Trying again is useless until an operator changes
    /// something.
    #[error("the broker refused: {0}")]
    Refused(String),
}

impl BrokerError {
    /// Returns whether trying again may help.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// Returns what strangers may read: fixed words, without addresses and without what Redis said, which are for the log.
    pub fn public(&self) -> String {
        match self {
            Self::Unavailable(_) => "Redis does not answer".to_owned(),
            Self::Condition { condition, .. } => condition.to_string(),
            Self::Refused(_) => "Redis refuses what the node needs; the node's log says more".to_owned(),
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
    #[error("Redis has too few replicas in reach and refuses writes")]
    TooFewReplicas,
    /// `READONLY`.
    #[error("Redis is a read-only replica")]
    ReadOnly,
    /// `LOADING`.
    #[error("Redis is loading its data")]
    Loading,
    /// `BUSY`.
    #[error("Redis is busy with a script")]
    Busy,
    /// `MASTERDOWN`.
    #[error("Redis is a replica that has lost its primary")]
    PrimaryDown,
    /// `ERR max number of clients reached`.
    #[error("Redis has as many clients as it takes")]
    TooManyClients,
    /// `NOAUTH`, `WRONGPASS`.
    #[error("Redis does not accept the user or password of redis.url")]
    NotAuthenticated,
    /// `NOPERM`.
    #[error("the Redis user of redis.url may not do what a node needs")]
    NoPermission,
    /// `CLUSTERDOWN`, `CROSSSLOT`, `MOVED`, `ASK`, or `mode cluster` in the answer to `HELLO`.
    #[error("this Redis is a Redis Cluster, which Fanfare does not support yet")]
    Cluster,
}

impl Condition {
    /// Returns what an operator does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::OutOfMemory => "raise maxmemory, or find what fills it",
            Self::CannotSave => "look at its log and its disk",
            Self::TooFewReplicas => "bring replicas back, or lower min-replicas-to-write",
            Self::ReadOnly => "redis.url must lead to the primary",
            Self::Loading => "wait until it has loaded",
            Self::Busy => "wait, or end the script with SCRIPT KILL or FUNCTION KILL",
            Self::PrimaryDown => "bring the primary back, or promote a replica",
            Self::TooManyClients => "raise maxclients, or find who holds its connections",
            Self::NotAuthenticated => "correct user and password in redis.url",
            Self::NoPermission => "grant it with ACL SETUSER; ACL LOG shows what was refused",
            Self::Cluster => "use a primary with replicas (cluster-enabled no)",
        }
    }

    /// Returns whether it may end without an operator.
    pub fn ends_by_itself(self) -> bool {
        !matches!(self, Self::NotAuthenticated | Self::NoPermission | Self::Cluster)
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
            let public = error.public();
            assert!(
                public.contains("Redis") && !public.contains("10.0.0.1") && !public.contains("ann"),
                "{public}"
            );
        }
    }
}
