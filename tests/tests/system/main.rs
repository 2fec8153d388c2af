//! The whole system: real Redis, real nodes, real clients.
//!
//! # Layout
//!
//! - [`ways_in`]: every way of publishing reaches a client on any node
//! - [`before_the_first_event`]: a client that has got nothing yet loses nothing
//! - [`five_channels`]: reconnecting at every possible point
//! - [`expired_log`]: when a client gets a gap, and when it gets none
//! - [`slow_reader`]: a client that stops reading
//! - [`http2_and_tls`]: every way to a node, and from one to another
//! - [`client_certificates`]: certificates of clients, to Redis
//! - [`redis_outage`]: Redis goes away and comes back
//! - [`ownership`]: who holds a session
//! - [`presence`]: who follows a channel
//! - [`acks`]: what clients acknowledged
//! - [`api_keys`]: API keys of services
//! - [`audit`]: the audit log
//! - [`connection_log`]: one line for each connection that ended
//! - [`callback`]: an application that says who clients are, in place of tokens
//! - [`revocation`]: tokens that are revoked or replaced while their streams are open
//! - [`tickets`]: one-time credentials of streams
//! - [`heartbeats`]: heartbeats that a client asks for
//! - [`long_poll`]: answers that end, for clients that cannot stream
//! - [`intake`]: entries of the ingest stream land once
//! - [`dead_letters`]: intake entries that could not be published
//! - [`finite_commands`]: `fanfare stream`
//! - [`admin_page`]: the page of operators, and the figures of nodes
//! - [`every_end`]: whatever ends a connection frees everything
//! - [`examples`]: the example publisher over leaving, rolls and outages
//! - [`crash_retry`]: how soon clients come back from a crash follows the cluster
//! - [`gzip`]: streams that are compressed
//! - [`metrics`]: what Prometheus reads
//! - [`traces`]: spans of traced events
//! - [`key_files`]: files with keys of tokens that change
//! - [`providers`]: tokens of identity providers, by the settings of `docs/providers.md`
//! - [`doctor`]: what is wrong around a node
//! - [`openapi`]: the description of the API
//! - [`settings_commands`]: what describes and checks files of settings
//! - [`bad_input`]: clear errors, nothing lost, node alive

mod acks;
mod admin_page;
mod api_keys;
mod audit;
mod bad_input;
mod before_the_first_event;
mod callback;
mod client_certificates;
mod connection_log;
mod crash_retry;
mod dead_letters;
mod doctor;
mod every_end;
mod examples;
mod except;
mod expired_log;
mod finite_commands;
mod five_channels;
mod gzip;
mod heartbeats;
mod http2_and_tls;
mod intake;
mod key_files;
mod long_poll;
mod metrics;
mod openapi;
mod ownership;
mod presence;
mod providers;
mod redis_outage;
mod revocation;
mod settings_commands;
mod several_channels;
mod slow_reader;
mod tickets;
mod traces;
mod ways_in;
