//! The subcommands.

pub(crate) mod bench;
pub(crate) mod floor;
pub(crate) mod soak;
pub(crate) mod table;
