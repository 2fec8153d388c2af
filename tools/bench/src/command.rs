//! The subcommands.

pub(crate) mod baseline;
pub(crate) mod measure;
pub(crate) mod table;
