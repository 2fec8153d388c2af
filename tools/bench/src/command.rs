//! The subcommands.

pub(crate) mod baseline;
pub(crate) mod measure;
pub(crate) mod observability;
pub(crate) mod revocation;
pub(crate) mod table;
