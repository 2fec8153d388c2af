//! `fanfare dev`: a node and a page to play with.

pub(crate) mod page;
