//! Sockets of streams for tests, behind the feature `testing`.

use tokio::io::{BufWriter, DuplexStream};

use crate::stream::Socket;

/// A pipe.
impl Socket for DuplexStream {}

/// Buffered bytes have not been sent: the writer must be flushed.
impl<S: Socket> Socket for BufWriter<S> {}
