//! The function library with which any Redis client publishes by `FCALL`.
//!
//! It is one Lua text: the settings of the nodes, the publish script, and the checks of the caller's arguments. A
//! node loads its own text when it starts, and later only a library that is missing, so that nodes with different
//! settings, as in a rolling update, do not replace each other's library forever.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::Value;
use fanfare_protocol::event;

use super::RedisBroker;
use super::error::unexpected;
use super::pool::BlockingPool;
use super::prefix::Prefix;
use super::reply::{array, map, millis, text};
use crate::stream_store::MAX_PUBLISHED;
use crate::{BrokerError, BrokerSettings, Retention, StreamSettings};

/// The library of this node.
#[derive(Debug)]
pub(super) struct Library {
    name: String,
    text: String,
    /// Whether this process has compared the text in Redis with its own.
    brought: AtomicBool,
}

impl Library {
    pub(super) fn new(prefix: &Prefix, settings: &BrokerSettings) -> Self {
        // All clusters in one Redis share the namespace of libraries and functions.
        let name = prefix.library();
        let text = render(&name, prefix.as_str(), settings);
        Self { name, text, brought: AtomicBool::new(false) }
    }
}

/// Loads the library where it is missing or, at the first call, differs. Primaries do not share libraries.
pub(super) async fn prepare(broker: &RedisBroker) -> Result<(), BrokerError> {
    let library = &broker.library;
    for primary in broker.connections.primaries() {
        load(&primary.pool, library).await?;
    }
    library.brought.store(true, Ordering::Relaxed);
    Ok(())
}

async fn load(pool: &BlockingPool, library: &Library) -> Result<(), BrokerError> {
    let first = !library.brought.load(Ordering::Relaxed);
    let mut list = ::redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(&library.name);
    if first {
        list.arg("WITHCODE");
    }
    let found = array(pool.command(&list, Duration::ZERO).await?);
    let found = found.ok_or_else(|| unexpected("a list of libraries"))?.into_iter().next();
    let fits = match found {
        Some(found) if first => code(found).as_deref() == Some(&library.text),
        Some(_) => true,
        None => false,
    };
    if !fits {
        let mut load = ::redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(&library.text);
        pool.command(&load, Duration::ZERO).await?;
        tracing::info!(library = library.name, "loaded the Redis function library");
    }
    Ok(())
}

fn code(library: Value) -> Option<String> {
    let fields = map(library)?.into_iter().filter_map(|(name, value)| Some((text(name)?, value)));
    fields.into_iter().find(|(name, _)| name == "library_code").and_then(|(_, value)| text(value))
}

fn render(name: &str, prefix: &str, settings: &BrokerSettings) -> String {
    let mut out = format!("#!lua name={name}\n");
    // Writing into memory does not fail.
    let _ = writeln!(out, "local name, prefix = {}, {}", quote(&format!("{name}_publish")), quote(prefix));
    let _ = writeln!(
        out,
        "local max_data, once = {}, '{}'",
        settings.max_data,
        millis(settings.idempotency_window)
    );
    out.push_str("local reserved_types = {\n");
    for (kind, why) in event::reserved() {
        let _ = writeln!(out, "  [{}] = {},", quote(kind), quote(&why.to_string()));
    }
    out.push_str("}\nlocal rules = {\n");
    for (pattern, kept) in &settings.retention.rules {
        let _ = writeln!(out, "  {{pattern = {}, {}}},", quote(pattern.as_str()), retention(kept));
    }
    let _ = writeln!(out, "}}\nlocal default = {{{}}}", retention(&settings.retention.default));
    out.push_str(include_str!("publish.lua"));
    out.push_str(include_str!("library.lua"));
    append(&mut out, name, &settings.streams);
    out
}

/// Adds the function that appends to finite streams.
fn append(out: &mut String, name: &str, bounds: &StreamSettings) {
    let StreamSettings { keep, bytes, producers, .. } = bounds;
    let keep = if keep.is_zero() { 0 } else { millis(*keep) };
    // Writing into memory does not fail.
    let _ = writeln!(
        out,
        "local append_name, most_bytes, most_producers = {}, '{bytes}', '{producers}'",
        quote(&format!("{name}_append"))
    );
    let _ = writeln!(out, "local keep, most_published = '{keep}', '{MAX_PUBLISHED}'");
    out.push_str("local function append_stream(KEYS, ARGV)\n");
    out.push_str(include_str!("stream.lua"));
    out.push_str(include_str!("stream_append.lua"));
    out.push_str("end\n");
    out.push_str(include_str!("library_append.lua"));
}

fn retention(kept: &Retention) -> String {
    let positions = kept.positions.max(kept.age);
    format!(
        "events = '{}', age = '{}', positions = '{}'",
        kept.events.max(1),
        millis(kept.age),
        millis(positions)
    )
}

/// Returns a Lua string literal.
fn quote(text: &str) -> String {
    let mut out = String::from("'");
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'\'' && byte != b'\\' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\{byte:03}");
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_lua_string() {
        assert_eq!(quote("user:*"), "'user:*'");
        assert_eq!(quote("a'b\\c\nd é"), "'a\\039b\\092c\\010d\\032\\195\\169'");
    }

    #[test]
    fn the_function_is_named_after_the_prefix() {
        let library = |prefix| Library::new(&Prefix::new(prefix).unwrap(), &BrokerSettings::default());
        assert!(
            library("fanfare").text.starts_with("#!lua name=fanfare\nlocal name, prefix = 'fanfare_publish'")
        );
        assert!(library("app:x").text.contains("'app_x_publish', 'app:x'"));
    }
}
