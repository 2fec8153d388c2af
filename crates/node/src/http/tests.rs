//! Every call but the stream, on the memory broker.
