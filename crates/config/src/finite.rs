//! Settings of finite streams: `[finite]`.

use std::time::Duration;

use bytesize::ByteSize;
use fanfare_broker::StreamSettings;

use crate::bytes;
use crate::setting::settings;

settings! {
    /// `[finite]`.
    pub struct FiniteConfig = "finite", |config| config.finite => {
        /// How long a finite stream without `Stream-TTL` and `Stream-Expires-At` is kept after its last read or write. `0s` keeps it
        /// until it is deleted.
        keep: Duration = "24h", in "0s" to "366d";
        /// Maximum number of bytes of a finite stream.
        stream_bytes: ByteSize = "16MiB", in "1KiB" to "64MiB";
        /// Maximum number of producers of a finite stream that send `Producer-Id`. Each takes about 100 bytes of Redis.
        producers: usize = "256", in "1" to "10000";
        /// Maximum number of forks of a finite stream.
        forks: usize = "1000", in "1" to "10000";
        /// Maximum number of bytes of one page: of an answer, or of an event of a live reader. A JSON message that is larger is
        /// sent whole.
        page: ByteSize = "64KiB", in "1KiB" to "1MiB";
        /// How long a long poll waits for bytes.
        long_poll: Duration = "25s", in "100ms" to "10m";
        /// How long a live reader is served before the node ends the answer and the reader comes back. With `live=raw`, and while
        /// a body is appended as it arrives, the token is checked again instead.
        live_age: Duration = "60s", in "1s" to "1h";
        /// How long a body of unknown length, which is appended as it arrives, may pause.
        append_idle: Duration = "5m", in "1s" to "1h";
    }
}

impl FiniteConfig {
    /// Returns the settings of the broker.
    pub(crate) fn broker(&self) -> StreamSettings {
        StreamSettings {
            keep: self.keep,
            bytes: bytes(self.stream_bytes),
            producers: self.producers,
            forks: self.forks,
        }
    }
}
