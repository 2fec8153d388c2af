//! Test doubles, behind the feature `testing`.
//!
//! A test that needs one of the six traits may as well implement it by itself, around a
//! [`MemoryBroker`](crate::MemoryBroker), as the simulation does. The faults of Redis itself, like a failover, are methods of
//! the memory broker.
//!
//! # Layout
//!
//! - `fault`: kinds of calls and faults
//! - `faulty`: a broker that fails by script; `calls`: its calls
//! - `wait`: waiting in virtual time

mod calls;
mod fault;
mod faulty;
mod wait;

pub use self::fault::{Call, Fault};
pub use self::faulty::FaultyBroker;
pub use self::wait::{settle_tasks, until};
