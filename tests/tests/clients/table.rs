//! The table of libraries in `docs/clients.md`: written from what was tested.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::catalog::LIBRARIES;

/// How the table is written again.
const WRITE: &str = "CLIENTS_TABLE";

/// A row, for one program or several.
struct Row {
    programs: &'static [&'static str],
    language: &'static str,
    /// The library; each `{}` is its version.
    library: &'static str,
    /// For each version, the file in `tests/clients` that has it, and the text before it.
    versions: &'static [(&'static str, &'static str)],
    reconnects: &'static str,
    needs: &'static str,
}

const NODE: &str = "node/package.json";
const PYTHON: &str = "python/requirements.txt";
const GO: &str = "go/go.mod";
const JAVA: &str = "java/pom.xml";
const RUST: &str = "rust/Cargo.toml";

#[rustfmt::skip]
const ROWS: [Row; 21] = [
    row("browser", "`EventSource` (Chromium)", &["EventSource"], &[]).needs("yes", "nothing"),
    row("browser", "`sse.js` {}", &["sse.js"], &[(NODE, "\"sse.js\": \"")])
        .needs("with `autoReconnect`", "[the option](#ssejs)"),
    row("browser", "Turbo {}, `<turbo-stream-source>`", &["turbo"], &[(NODE, "\"@hotwired/turbo\": \"")])
        .needs("yes", "plain messages (no event type) with `<turbo-stream>` elements; it ignores typed events, so a `gap` needs [a listener](#turbo-and-htmx)"),
    row("browser", "htmx {} with `htmx-ext-sse` {}", &["htmx-2"], &[(NODE, "\"htmx.org\": \""), (NODE, "\"htmx-ext-sse\": \"")])
        .needs("yes", "`sse-swap` names each type, `gap` as well"),
    row("browser", "htmx {} with its `hx-sse`", &["htmx-4"], &[(NODE, "\"htmx-4\": \"npm:htmx.org@")])
        .needs("yes", "nothing; events with a type are [DOM events](#turbo-and-htmx) of the element"),
    row("JavaScript", "`eventsource` {} and {}", &["eventsource-3", "eventsource-4"], &[(NODE, "npm:eventsource@"), (NODE, "\"eventsource-4\": \"npm:eventsource@")])
        .needs("yes", "nothing"),
    row("JavaScript", "`eventsource-client` {}", &["eventsource-client"], &[(NODE, "\"eventsource-client\": \"")])
        .needs("yes", "nothing"),
    row("JavaScript", "`eventsource-parser` {}", &["eventsource-parser"], &[(NODE, "\"eventsource-parser\": \"")])
        .needs("no, it is a parser", "[a loop](#eventsource-parser) with the last id and `retry`"),
    row("JavaScript", "`event-source-polyfill` {}", &["event-source-polyfill"], &[(NODE, "\"event-source-polyfill\": \"")])
        .needs("yes", "nothing; it sends the last id in the query"),
    row("JavaScript", "`@microsoft/fetch-event-source` {}", &["fetch-event-source"], &[(NODE, "fetch-event-source\": \"")])
        .needs("yes, but not after a clean end", "[an `onclose` that throws](#microsoftfetch-event-source)"),
    row("JavaScript", "`reconnecting-eventsource` {}", &["reconnecting-eventsource"], &[(NODE, "\"reconnecting-eventsource\": \"")])
        .needs("yes", "in Node, an `EventSource` to wrap"),
    row("Python", "`sseclient-py` {} over `requests`", &["sseclient-py"], &[(PYTHON, "sseclient-py==")])
        .needs("no", "a loop with the last id and `retry`, as [for `httpx-sse`](#python)"),
    row("Python", "`httpx-sse` {}", &["httpx-sse"], &[(PYTHON, "httpx-sse==")])
        .needs("no", "[a loop](#python) as in its README that also continues after a clean end and after `httpx.RemoteProtocolError`; a read timeout"),
    row("Python", "`aiohttp-sse-client2` {}", &["aiohttp-sse-client2"], &[(PYTHON, "aiohttp-sse-client2==")])
        .needs("after a clean end only", "a loop around it for broken streams; `ClientTimeout(total=None)`; a `reconnection_time` (the default is 5 s, doubled each time)"),
    row("Go", "`r3labs/sse` {}", &["r3labs-sse"], &[(GO, "r3labs/sse/v2 v")])
        .needs("yes, but not after a clean end", "[a loop](#go) around `SubscribeRaw`; code that skips messages without data, which the library produces when a stream breaks after a heartbeat"),
    row("Go", "`tmaxmax/go-sse` {}", &["tmaxmax-go-sse"], &[(GO, "tmaxmax/go-sse v")])
        .needs("yes", "nothing"),
    row("Go", "`launchdarkly/eventsource` {}", &["launchdarkly-go"], &[(GO, "launchdarkly/eventsource v")])
        .needs("yes", "a reader of its `Errors` channel, or an error handler"),
    row("Java", "`okhttp-sse` {}", &["okhttp-sse"], &[(JAVA, "<artifactId>okhttp-sse</artifactId>\n      <version>")])
        .needs("no", "[a loop](#java) with the last id; a read timeout"),
    row("Java", "`okhttp-eventsource` {}", &["okhttp-eventsource"], &[(JAVA, "<artifactId>okhttp-eventsource</artifactId>\n      <version>")])
        .needs("with an `ErrorStrategy`", "[`alwaysContinue`](#java); `maxDelay`, because the library doubles its delay up to 30 s when streams end within a minute"),
    row("Rust", "`eventsource-client` {}", &["rust-eventsource-client"], &[(RUST, "\neventsource-client = \"=")])
        .needs("yes", "code that takes the error from the stream and keeps polling"),
    row("Rust", "`reqwest-eventsource` {}", &["reqwest-eventsource"], &[(RUST, "\nreqwest-eventsource = \"=")])
        .needs("yes", "the same, without `close()` on an error"),
];

const fn row(
    language: &'static str,
    library: &'static str,
    programs: &'static [&'static str],
    versions: &'static [(&'static str, &'static str)],
) -> Row {
    Row { programs, language, library, versions, reconnects: "", needs: "" }
}

impl Row {
    const fn needs(self, reconnects: &'static str, needs: &'static str) -> Self {
        Self { reconnects, needs, ..self }
    }

    fn text(&self) -> String {
        let versions = self.versions.iter().map(|(file, before)| version(file, before));
        let library =
            versions.fold(self.library.to_owned(), |text, version| text.replacen("{}", &version, 1));
        format!("| {} | {library} | {} | {} |\n", self.language, self.reconnects, self.needs)
    }
}

/// Major and minor version, from a file in `tests/clients`.
fn version(file: &str, before: &str) -> String {
    let text = read(&place("clients").join(file));
    let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("{file} has no {before:?}"));
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
    after[..end].split('.').take(2).collect::<Vec<_>>().join(".")
}

fn place(below_tests: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below_tests)
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Compares the table with the libraries that have just passed, or writes it.
///
/// # Panics
///
/// When the table is another one, or a library has no row.
pub(crate) fn check() {
    let tested: BTreeSet<_> = LIBRARIES.iter().map(|entry| entry.name).collect();
    let told: BTreeSet<_> = ROWS.iter().flat_map(|row| row.programs).copied().collect();
    assert_eq!(told, tested, "each library has a row, and each row a library");
    let head = "| language | library | reconnects by itself | what it needs |\n|---|---|---|---|\n";
    let wanted = ROWS.iter().fold(head.to_owned(), |text, row| text + &row.text());
    let file = place("../docs/clients.md");
    let page = read(&file);
    let begin = page.find("| language | library |").expect("a table");
    let end = page[begin..].find("\n\n").map_or(page.len(), |length| begin + length + 1);
    if page[begin..end] == wanted {
        return;
    }
    assert!(
        std::env::var_os(WRITE).is_some(),
        "the table in docs/clients.md is another one: {WRITE}=write scripts/test clients writes it.\n{wanted}"
    );
    let page = format!("{}{wanted}{}", &page[..begin], &page[end..]);
    std::fs::write(&file, page).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}
